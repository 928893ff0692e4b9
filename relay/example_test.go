package relay_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// A relay in an application's own process. It delivers until the process is told to stop; then it
// finishes its open transaction and gives its shards to other relays.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()

	r, err := relay.New(relay.Config{
		Outbox: "orders",
		Redis:  client,
		Kafka:  []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
		Route:  "outbox.event.{{.AggregateType}}",
		Trim:   relay.Trim{Keep: 24 * time.Hour},
	})
	if err != nil {
		log.Fatal(err) // every mistake in the configuration at once
	}
	if err := r.Run(ctx); err != nil {
		log.Fatal(err) // waiting cannot mend it
	}
}

// Ready answers a readiness probe. A relay with a halted shard is not ready, and says why.
func ExampleRelay_Ready() {
	probe := func(r *relay.Relay) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := r.Ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			}
		}
	}
	r, err := relay.New(relay.Config{
		Outbox: "orders",
		Redis:  redis.NewClient(&redis.Options{Addr: "localhost:6379"}),
		Kafka:  []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
	})
	if err != nil {
		log.Fatal(err)
	}
	answer := httptest.NewRecorder()
	probe(r)(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	fmt.Print(answer.Code, " ", answer.Body)
	// Output: 503 not started
}

// An Observer counts. Its functions are called on the path of delivery, so they only add.
func ExampleObserver() {
	var delivered, dead int
	observer := &relay.Observer{
		Committed:    func(c relay.Commit) { delivered += c.Entries },
		DeadLettered: func(int, outbox.EntryID, relay.Reason) { dead++ },
	}
	observer.Committed(relay.Commit{Shard: 3, Entries: 250})
	observer.DeadLettered(3, outbox.EntryID{MS: 1767319445000}, relay.ReasonTooLarge)
	fmt.Println(delivered, dead)
	// Output: 250 1
}

// New talks to no server. It reports every mistake at once.
func ExampleNew() {
	_, err := relay.New(relay.Config{Outbox: "orders", Lanes: -1})
	fmt.Println(err)
	// Output:
	// relay: Config.Redis is required
	// relay: Config.Kafka is required: at least kgo.SeedBrokers
	// relay: Lanes is -1: want 1 to 64
}
