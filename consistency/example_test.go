package consistency_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
)

// An audit of everything since the last one. The error says what stopped it; disagreements and what
// could not be compared are in the report.
func ExampleAuditor_Run() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()

	auditor, err := consistency.New(consistency.Config{
		Outbox: "orders",
		Redis:  client,
		Kafka:  []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
		Effort: consistency.GentleEffort, // leave the servers to production most of the time
	})
	if err != nil {
		log.Fatal(err)
	}
	report, err := auditor.Run(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Verdict)
	for _, finding := range report.Findings {
		fmt.Println(finding.Kind, finding.Shard, finding.Detail)
	}
	for _, reason := range report.Incomplete {
		fmt.Println("not compared:", reason)
	}
}

// A mistake in the configuration is an error of New, which talks to no server.
func ExampleNew() {
	_, err := consistency.New(consistency.Config{Outbox: "orders"})
	fmt.Println(err)
	// Output: consistency: Redis and Kafka are required
}
