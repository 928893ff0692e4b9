package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Each mechanism authenticates against a broker that demands it, with the password from a file.
func TestKafkaSASL(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for config, server := range map[string]string{
		"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256",
		"scram-sha-512": "SCRAM-SHA-512",
	} {
		t.Run(config, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(),
				kfake.Superuser(server, "relay", "hunter2"))
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			c := load(t, "outbox: {name: o}\nredis: {url: redis://h}\nkafka:\n  brokers: ["+strings.Join(
				cluster.ListenAddrs(),
				",")+"]\n  sasl: {mechanism: "+config+", username: relay, password_file: "+secret+"}\n")
			opts, err := KafkaOpts(c)
			if err != nil {
				t.Fatal(err)
			}
			client, err := kgo.NewClient(opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKafkaMechanismsNeedTheirFiles(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")
	for sasl, want := range map[string]string{
		"{mechanism: oauthbearer, token_file: /no/such/file}": "kafka.sasl.token_file: open " +
			"/no/such/file",
		"{mechanism: aws-msk-iam}": "kafka.sasl.mechanism: aws-msk-iam " +
			"needs AWS_ACCESS_KEY_ID",
	} {
		c := load(t, "outbox: {name: o}\nredis: {url: redis://h}\n"+
			"kafka: {brokers: ['h:1'], sasl: "+sasl+"}\n")
		if _, err := KafkaOpts(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", sasl, err)
		}
	}
}

func TestAWSCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	put(t, file, []byte(
		"# keys\n[default]\naws_access_key_id = "+
			"A\naws_secret_access_key=B\n[other]\naws_access_key_id=C\naws_secret_access_key=D\n"+
			"aws_session_token=E\n"))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	if a, err := awsCredentials(); err != nil || a.AccessKey != "A" || a.SecretKey != "B" ||
		a.SessionToken != "" {
		t.Errorf("default profile: got %v, %v", a, err)
	}
	t.Setenv("AWS_PROFILE", "other")
	if a, err := awsCredentials(); err != nil || a.AccessKey != "C" || a.SecretKey != "D" ||
		a.SessionToken != "E" {
		t.Errorf("other profile: got %v, %v", a, err)
	}
	t.Setenv("AWS_PROFILE", "none")
	if _, err := awsCredentials(); err == nil {
		t.Error("a profile that is not there was accepted")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "F")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "G")
	if a, err := awsCredentials(); err != nil || a.AccessKey != "F" {
		t.Errorf("environment: got %v, %v", a, err)
	}
}

// Every codec is what it says, and many clients can be made from the same options at once.
func TestCompression(t *testing.T) {
	codec, _ := setting("kafka.compression")
	for _, name := range codec.Enum {
		t.Run(name, func(t *testing.T) {
			c := load(t, "outbox: {name: o}\nredis: {url: redis://h}\nkafka: {brokers: ['h:1'], "+
				"compression: "+name+"}\n")
			opts, err := KafkaOpts(c)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					client, err := kgo.NewClient(opts...)
					if err != nil {
						t.Error(err)
						return
					}
					defer client.Close()
					got := "none"
					if compressor, _ := client.OptValue(kgo.WithCompressor).(kgo.Compressor); compressor != nil {
						_, used := compressor.Compress(new(bytes.Buffer), bytes.Repeat([]byte("a"), 1000))
						got = map[kgo.CompressionCodecType]string{
							kgo.CodecGzip: "gzip", kgo.CodecSnappy: "snappy",
							kgo.CodecLz4: "lz4", kgo.CodecZstd: "zstd",
						}[used]
					}
					if got != name {
						t.Errorf("got %s", got)
					}
				})
			}
			wg.Wait()
		})
	}
}
