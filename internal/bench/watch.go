package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// tally is what has become visible, seen by one goroutine.
type tally struct {
	arrived    int // different events
	duplicates int
	inversions int // events after a later one of their key
	strangers  int // records that are no event of the run

	began       time.Time // when the driver was told to start
	first, last time.Time // when the first and the last different event were seen
	// atFirst events were seen within firstWindow of the first, the last of them at settled.
	atFirst int
	settled time.Time

	seen    []bool
	highest []int // by key: the greatest number so far
}

// firstWindow is long enough for what became visible with the first event to be seen on every
// partition.
const firstWindow = 10 * time.Millisecond

func newTally(entries int, began time.Time) *tally {
	t := &tally{began: began, seen: make([]bool, entries), highest: make([]int, keys)}
	for i := range t.highest {
		t.highest[i] = -1
	}
	return t
}

// add notes event number n.
func (t *tally) add(n int, now time.Time) {
	if n < 0 || n >= len(t.seen) {
		t.strangers++
		return
	}
	if t.seen[n] {
		t.duplicates++
		return
	}
	t.seen[n] = true
	if t.arrived == 0 {
		t.first = now
	}
	t.arrived++
	t.last = now
	if now.Sub(t.first) <= firstWindow {
		t.atFirst++
		t.settled = now
	}
	if n < t.highest[n%keys] {
		t.inversions++
	} else {
		t.highest[n%keys] = n
	}
}

// rate is entries a second from the first to the last that was seen. Those of the beginning do not
// count: they had become visible before the time was taken. If that is more than a tenth, the
// backlog is too small to be measured so, and the rate is all of it from the start of the driver.
func (t *tally) rate() float64 {
	counted, took := t.arrived-t.atFirst, t.last.Sub(t.settled)
	if t.atFirst*10 > t.arrived {
		counted, took = t.arrived, t.last.Sub(t.began)
	}
	if took <= 0 {
		return 0
	}
	return float64(counted) / took.Seconds()
}

// watcher is a read_committed consumer of one topic from its beginning. Each partition has a client
// of its own: with one for all, a fetch that waits for one partition keeps records of another
// waiting, and that would be measured.
type watcher struct {
	topic      string
	partitions []int
	clients    []*kgo.Client // by index of the partition
}

func (s *backends) watch(topic string, partitions int) (*watcher, error) {
	all := make([]int, partitions)
	for p := range all {
		all[p] = p
	}
	return s.watchPartitions(topic, all)
}

// watchPartitions sees only some of the partitions.
func (s *backends) watchPartitions(topic string, partitions []int) (*watcher, error) {
	w := &watcher{topic: topic, partitions: partitions}
	for _, p := range partitions {
		client, err := kgo.NewClient(
			kgo.SeedBrokers(s.brokers...),
			kgo.ConsumePartitions(
				map[string]map[int32]kgo.Offset{topic: {int32(p): kgo.NewOffset().AtStart()}}),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.FetchMinBytes(1),
			kgo.FetchMaxWait(time.Second),
			kgo.FetchMaxBytes(8<<20),
			kgo.FetchMaxPartitionBytes(8<<20),
		)
		if err != nil {
			w.close()
			return nil, fmt.Errorf("kafka: %w", err)
		}
		w.clients = append(w.clients, client)
	}
	return w, nil
}

// warm returns when a record sent to each partition has been seen: from then on the watcher's own
// start delays nothing.
func (w *watcher) warm(ctx context.Context, producer *kgo.Client) error {
	for i, client := range w.clients {
		r := &kgo.Record{Topic: w.topic, Partition: int32(w.partitions[i]), Value: []byte("warm")}
		if err := producer.ProduceSync(ctx, r).FirstErr(); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		if err := client.PollFetches(ctx).Err(); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
	}
	return nil
}

// until hands every record's number to see, one at a time, until that returns false or ctx ends,
// which is an error.
func (w *watcher) until(ctx context.Context, see func(n int, now time.Time) bool) error {
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	for _, client := range w.clients {
		g.Go(func() error {
			for {
				fetches := client.PollFetches(ctx)
				now := time.Now()
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := fetches.Err(); err != nil {
					return fmt.Errorf("kafka: %w", err)
				}
				if !deliver(&mu, fetches, now, see) {
					return errSeenAll
				}
			}
		})
	}
	if err := g.Wait(); !errors.Is(err, errSeenAll) {
		return err
	}
	return nil
}

var errSeenAll = errors.New("seen all")

func deliver(mu *sync.Mutex, fetches kgo.Fetches, now time.Time,
	see func(int, time.Time) bool,
) (more bool) {
	mu.Lock()
	defer mu.Unlock()
	more = true
	fetches.EachRecord(func(r *kgo.Record) { more = see(number(r.Value), now) && more })
	return more
}

func (w *watcher) close() {
	for _, client := range w.clients {
		client.Close()
	}
}
