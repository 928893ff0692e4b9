package servers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// serves succeeds when the broker answers and counts itself among the living ones, so that it can
// lead partitions.
func (b *Broker) serves(ctx context.Context) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.RequestRetries(0),
		kgo.DialTimeout(probeTimeout))
	if err != nil {
		return fmt.Errorf("client of %s: %w", b.Name, err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	meta, err := kadm.NewClient(c).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("metadata from %s: %w", b.Name, err)
	}
	if b.ID != 0 && !slices.Contains(meta.Brokers.NodeIDs(), int32(b.ID)) {
		return fmt.Errorf("%s does not list itself among the brokers %v", b.Name, meta.Brokers.NodeIDs())
	}
	if len(meta.Brokers) == 0 {
		return errors.New("no broker is listed")
	}
	return nil
}

// readKafkaVersion asks a broker for the levels of its features. The version is that of the jars
// where they are known; otherwise it is what the offered requests tell, which is the oldest
// release that offers them.
func readKafkaVersion(ctx context.Context, addrs []string, libs string) (string, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		return "", fmt.Errorf("kafka client: %w", err)
	}
	defer c.Close()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "sluice", "integration"
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return "", fmt.Errorf("kafka version: %w", err)
	}
	var levels []string
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "metadata.version" || f.Name == "transaction.version" {
			levels = append(levels, fmt.Sprintf("%s %d", f.Name, f.MaxVersionLevel))
		}
	}
	slices.Sort(levels)
	version := jarVersion(libs)
	if version == "" {
		version = strings.TrimPrefix(kversion.FromApiVersionsResponse(resp).VersionGuess(), "v")
	}
	return fmt.Sprintf("Kafka %s (%s)", version, strings.Join(levels, ", ")), nil
}

// jarVersion is the version in the name of the broker's jar, or empty if there is not exactly one.
func jarVersion(libs string) string {
	if libs == "" {
		return ""
	}
	found, err := filepath.Glob(filepath.Join(libs, "kafka_2.13-*.jar"))
	if err != nil || len(found) != 1 {
		return ""
	}
	name := strings.TrimSuffix(filepath.Base(found[0]), ".jar")
	return strings.TrimPrefix(name, "kafka_2.13-")
}
