//go:build integration

package suites_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// TestGroupsBecomeVisibleTogether: a backlog of transactions of up to forty events each, delivered
// in Kafka transactions that are too small for three of them. Whenever one looks, the last stable
// offset is between two of the application's transactions.
func TestGroupsBecomeVisibleTogether(t *testing.T) {
	t.Parallel()
	w := shared(t, 1)
	ctx := deadline(t, 5*time.Minute)
	events := scaled(t, 30_000)
	shop := w.Open(ctx, testenv.ShopOptions{
		Events: events, Seed: integration.Seed(t).Uint64(),
		Group: 40,
	})
	shop.Await(time.Minute, events/2) // a backlog, and more to come

	if _, err := kadm.NewClient(w.Kafka).CreateTopic(ctx, 1, -1, nil, w.Topic()); err != nil {
		t.Fatal(err)
	}
	looking, stop := context.WithCancel(ctx)
	looked := make(chan []int64, 1)
	go func() { looked <- stableOffsets(looking, w) }()
	cfg := w.Config()
	cfg.MaxEntries = 100
	w.Run(cfg)
	shop.Close(time.Minute)
	w.AwaitCommitted(time.Minute)
	stop()
	offsets := <-looked

	more := map[string]bool{} // by event
	for _, e := range w.Entries() {
		more[e.Event] = e.More
	}
	records := w.Delivered()
	for _, end := range offsets {
		// The last record that was visible when the last stable offset was end.
		n, _ := slices.BinarySearchFunc(records, end, func(r testenv.Record, end int64) int {
			return int(r.Offset - end)
		})
		if n > 0 && more[records[n-1].Event] {
			t.Errorf("at offset %d event %s was visible without the rest of its transaction", end,
				records[n-1].Event)
		}
	}
	verify(t, w)
	positions := w.Positions()[0]
	t.Logf("%d events in %d Kafka transactions; looked at %d different last stable offsets on the way",
		events, len(positions), len(offsets))
	if len(offsets) < 3 {
		t.Error("the backlog was gone before one could look")
	}
}

// stableOffsets looks at the last stable offset of the environment's topic, again and again, and
// returns the different ones.
func stableOffsets(ctx context.Context, w *testenv.Env) (seen []int64) {
	admin := kadm.NewClient(w.Kafka)
	for ctx.Err() == nil {
		offsets, err := admin.ListCommittedOffsets(ctx, w.Topic())
		if err != nil {
			continue
		}
		if o, ok := offsets.Lookup(w.Topic(), 0); ok && o.Err == nil &&
			(len(seen) == 0 || seen[len(seen)-1] != o.Offset) {
			seen = append(seen, o.Offset)
		}
	}
	return seen
}
