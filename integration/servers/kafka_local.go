package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-outbox/sluice/integration/process"
)

// probeTimeout bounds one question to a server that may not be up yet.
const probeTimeout = 3 * time.Second

var kafkaFinders = finders{
	what:  "Kafka",
	image: kafkaImage,
	local: findKafkaJars,
	advice: `  apt-get install openjdk-17-jre-headless maven    # Kafka's jars are then fetched once
  # the libs folder of an unpacked Kafka, with Java 17 on PATH:
  export ` + envKafkaLibs + `=/path/to/kafka/libs
  # brokers that tests may fill; those that break brokers need their own:
  export ` + envKafka + `=127.0.0.1:9092
  start a Docker engine that has, or can pull, ` + kafkaImage(),
}

func kafkaImage() string {
	if image := os.Getenv(envKafkaImage); image != "" {
		return image
	}
	return "apache/kafka:" + kafkaVersion()
}

// findKafkaJars finds Java and a folder of Kafka's jars, which it fetches if need be.
func findKafkaJars(ctx context.Context) (place, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return place{}, errors.New("java is not on PATH; Kafka needs Java 17 or newer")
	}
	libs, err := kafkaLibs(ctx, kafkaVersion())
	if err != nil {
		return place{}, err
	}
	return place{origin: OriginLocal, program: java, libs: libs}, nil
}

// kafkaLibs returns the folder of the jars: the one named in the environment, or the user's cache,
// which is filled first if it lacks the version.
func kafkaLibs(ctx context.Context, version string) (string, error) {
	if dir := os.Getenv(envKafkaLibs); dir != "" {
		found := jarVersion(dir)
		if found == "" {
			return "", fmt.Errorf("%s=%s holds no kafka_2.13 jar", envKafkaLibs, dir)
		}
		if wanted := os.Getenv(envKafkaVersion); wanted != "" && wanted != found {
			return "", fmt.Errorf("%s=%s holds Kafka %s, but %s=%s", envKafkaLibs, dir, found,
				envKafkaVersion, wanted)
		}
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("folder for Kafka's jars: %w", err)
	}
	dir := filepath.Join(cache, "sluice", "kafka-"+version)
	if jarVersion(dir) == version {
		return dir, nil
	}
	return dir, fetchKafka(ctx, version, dir)
}

// pom names what a broker needs; Maven finds the rest.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sluice</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`

// fetchKafka lets Maven fetch the jars into a folder beside dir, and moves it to dir when it is
// complete: of two processes that do this at once, one comes first and the other finds the work
// done.
func fetchKafka(ctx context.Context, version, dir string) (err error) {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("Kafka %s is not in %s, and mvn, which would fetch it, is not on PATH", version,
			dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return fmt.Errorf("folder for Kafka's jars: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetching-*")
	if err != nil {
		return fmt.Errorf("folder for Kafka's jars: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	project := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(project, []byte(strings.ReplaceAll(pom, "VERSION", version)),
		0o600); err != nil {
		return fmt.Errorf("project for mvn: %w", err)
	}
	libs := filepath.Join(tmp, "libs")
	fetch, err := process.Start(process.Command{Name: "mvn", Path: mvn, Dir: tmp, Args: []string{
		"--batch-mode", "--quiet", "--file", project, "dependency:copy-dependencies",
		"-DoutputDirectory=" + libs,
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fetch.Close()) }()
	if err := fetch.Wait(ctx); err != nil {
		return err
	}
	if err := os.Rename(libs, dir); err != nil && jarVersion(dir) != version {
		return fmt.Errorf("jars of Kafka %s: %w", version, err)
	}
	return nil
}
