package migrations_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/migrations"
)

// A service that creates its own outbox at start. Any number of its instances may do so at once.
func Example() {
	redisAddr, brokers, stop := servers() // those of your deployment
	defer stop()
	ctx := context.Background()

	rdb := redis.NewClient(&redis.Options{Addr: redisAddr})
	defer rdb.Close()
	kafka, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		log.Fatal(err)
	}
	defer kafka.Close()

	m, err := migrations.New(rdb, kafka, migrations.Config{Outbox: "orders", Shards: 1})
	if err != nil {
		log.Fatal(err)
	}
	plan, err := m.Plan(ctx, migrations.Newest)
	if err != nil {
		log.Fatal(err)
	}
	plan.Notes = nil // the in-memory Redis of this example does not report its version
	if _, err := plan.WriteTo(os.Stdout); err != nil {
		log.Fatal(err)
	}
	if err := m.Apply(ctx, plan); err != nil {
		log.Fatal(err)
	}
	status, err := m.Status(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("\nrelays can start:", status.Current())

	// Output:
	// outbox orders: version 0 -> 3
	//
	// version 1: layout hash, streams and consumer groups
	//   create  layout   sluice:{orders}:layout  format 1, 1 shard
	//   create  stream   sluice:{orders:0}       empty, with consumer group sluice at 0
	//   record  version  sluice:{orders}:layout  version 1
	//
	// version 2: positions topic and dead-letter topic
	//   create  topic    sluice.orders.positions  1 partition, cleanup.policy=compact, delete.retention.ms=60000, segment.bytes=1048576
	//   create  topic    sluice.orders.dlq        1 partition, cleanup.policy=compact, max.message.bytes=1048588
	//   record  version  sluice:{orders}:layout   version 2
	//
	// version 3: positions of lanes, which several shards share
	//   record  version  sluice:{orders}:layout  version 3
	//
	// relays can start: true
}

func servers() (redisAddr string, brokers []string, stop func()) {
	r, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		log.Fatal(err)
	}
	return r.Addr(), k.ListenAddrs(), func() { r.Close(); k.Close() }
}
