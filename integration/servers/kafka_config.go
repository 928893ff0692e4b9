package servers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-outbox/sluice/integration/process"
)

// node holds the ports of one broker.
type node struct {
	id         int
	votes      bool // is a controller too
	client     int
	controller int
	internal   int    // for the other brokers; 0 if they use the port of clients
	proxied    int    // where the broker listens for its proxy; 0 for none
	proxy      string // where clients reach that proxy
}

// brokerConfig returns the properties of nodes[i]: KRaft, broker and, if it votes, controller in
// one process. In a container of its own network the client listener is on all of the container's
// interfaces.
func brokerConfig(nodes []node, i int, dir string, published bool,
	extra map[string]string,
) map[string]string {
	n := nodes[i]
	roles := "broker"
	if n.votes {
		roles += ",controller"
	}
	var voters []string
	for _, v := range nodes {
		if v.votes {
			voters = append(voters, fmt.Sprintf("%d@%s:%d", v.id, v.host(), v.controller))
		}
	}
	replicas, inSync := 1, 1
	if len(nodes) >= 3 {
		replicas, inSync = 3, 2
	}
	config := map[string]string{
		"process.roles":                                    roles,
		"node.id":                                          strconv.Itoa(n.id),
		"controller.quorum.voters":                         strings.Join(voters, ","),
		"controller.listener.names":                        "CONTROLLER",
		"log.dirs":                                         filepath.Join(dir, "data"),
		"default.replication.factor":                       strconv.Itoa(replicas),
		"min.insync.replicas":                              strconv.Itoa(inSync),
		"offsets.topic.num.partitions":                     "4",
		"offsets.topic.replication.factor":                 strconv.Itoa(replicas),
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         strconv.Itoa(replicas),
		"transaction.state.log.min.isr":                    strconv.Itoa(inSync),
		"share.coordinator.state.topic.replication.factor": strconv.Itoa(replicas),
		"share.coordinator.state.topic.min.isr":            strconv.Itoa(inSync),
		// A broker that was killed may come back only when its old session has ended: 9 s by default.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
		// Tests start groups all the time and need not wait for members that will not come.
		"group.initial.rebalance.delay.ms": "0",
	}
	maps.Copy(config, n.listeners(published))
	maps.Copy(config, extra)
	return config
}

// host is where brokers reach the node.
func (n node) host() string {
	if n.internal != 0 {
		return meshName(n.id)
	}
	return "127.0.0.1"
}

// listeners are the properties that say where the node listens, and what it tells others of that.
func (n node) listeners(published bool) map[string]string {
	bind := "127.0.0.1"
	if published {
		bind = "0.0.0.0"
	}
	listeners := []string{fmt.Sprintf("PLAINTEXT://%s:%d", bind, n.client)}
	if n.votes {
		listeners = append(listeners, "CONTROLLER://"+loopback(n.controller))
	}
	advertised := []string{"PLAINTEXT://" + loopback(n.client)}
	protocols := []string{"PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"}
	between := "PLAINTEXT"
	if n.proxied != 0 {
		listeners = append(listeners, fmt.Sprintf("PROXIED://%s:%d", bind, n.proxied))
		advertised = append(advertised, "PROXIED://"+n.proxy)
		protocols = append(protocols, "PROXIED:PLAINTEXT")
	}
	if n.internal != 0 {
		between = "INTERNAL"
		listeners = append(listeners, "INTERNAL://"+loopback(n.internal))
		advertised = append(advertised, fmt.Sprintf("INTERNAL://%s:%d", n.host(), n.internal))
		if n.votes {
			advertised = append(advertised, fmt.Sprintf("CONTROLLER://%s:%d", n.host(), n.controller))
		}
		protocols = append(protocols, "INTERNAL:PLAINTEXT")
	}
	return map[string]string{
		"listeners":                      strings.Join(listeners, ","),
		"advertised.listeners":           strings.Join(advertised, ","),
		"listener.security.protocol.map": strings.Join(protocols, ","),
		"inter.broker.listener.name":     between,
	}
}

// prepare writes the broker's configuration, formats its folder and makes its instance.
func (b *Broker) prepare(ctx context.Context, p place, o KafkaOptions, clusterID string,
	config map[string]string, n node,
) error {
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(config)) {
		fmt.Fprintf(&text, "%s=%s\n", k, config[k])
	}
	file := filepath.Join(b.dir, "server.properties")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("configuration of %s: %w", b.Name, err)
	}
	spec := Spec{Name: b.Name, Image: p.image, Dir: b.dir, HostNetwork: o.Brokers > 1}
	spec.Ports = []int{n.client}
	if n.proxied != 0 {
		spec.Ports = append(spec.Ports, n.proxied)
	}
	if p.origin == OriginDocker {
		spec.Command = kafkaContainerCommand(clusterID, file)
		spec.Env = []string{
			"LOG_DIR=" + filepath.Join(b.dir, "logs"), "KAFKA_HEAP_OPTS=-Xmx1g", "KAFKA_OPTS=" + b.hosts,
		}
	} else {
		if err := formatStorage(ctx, p, b, clusterID, file); err != nil {
			return err
		}
		spec.Command = javaCommand(p, b.dir, o.Java...)
		if b.hosts != "" {
			spec.Command = append(spec.Command, b.hosts)
		}
		spec.Command = append(spec.Command, "kafka.Kafka", file)
	}
	b.instance = newInstance(p, spec)
	return nil
}

// kafkaContainerCommand formats the folder, if that was not done, and becomes the broker. The
// scripts are where the public images of Kafka have them.
func kafkaContainerCommand(clusterID, file string) []string {
	const bin = "/opt/kafka/bin/"
	return []string{
		"sh", "-c",
		bin + `kafka-storage.sh format --ignore-formatted -t "$1" -c "$2" && exec ` + bin +
			`kafka-server-start.sh "$2"`,
		"kafka", clusterID, file,
	}
}

// javaCommand runs a class of the jars. The libraries that Java unpacks go into the folder of the
// broker, as one that is killed cannot remove them. Only warnings are logged: what a broker says at
// level info fills megabytes a minute.
func javaCommand(p place, tmp string, options ...string) []string {
	command := []string{
		p.program, "-Xmx1g", "-Djava.io.tmpdir=" + tmp,
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
	}
	command = append(command, options...)
	return append(command, "-cp", filepath.Join(p.libs, "*"))
}

func formatStorage(ctx context.Context, p place, b *Broker, clusterID, file string) (err error) {
	// One processor's worth of compiler: it runs for a second.
	command := append(javaCommand(p, b.dir, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
		"kafka.tools.StorageTool", "format", "-t", clusterID, "-c", file)
	tool, err := process.Start(process.Command{
		Name: "format of " + b.Name, Path: command[0],
		Args: command[1:],
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tool.Close()) }()
	return tool.Wait(ctx)
}
