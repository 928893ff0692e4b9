package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetcher is the consumer that all partitions of an instance share. Partitions come and go only
// between two polls, in the goroutine that polls: what a poll has brought of a partition that
// begins again elsewhere can then not be taken for what stands behind its new beginning.
type fetcher struct {
	client *kgo.Client
	budget int // bytes that may wait

	mu      sync.Mutex
	changes []func()
	wake    context.CancelFunc // ends the poll that is under way

	sourcesMu sync.Mutex
	sources   map[string]*source // by place

	ids map[string]TopicID // of the topics that the client fetches; the polling goroutine's
}

func newFetcher(client *kgo.Client, budget int) *fetcher {
	return &fetcher{
		client: client, budget: budget, wake: func() {}, sources: map[string]*source{},
		ids: map[string]TopicID{},
	}
}

// fetchOpts are the options of the client that fetches. It does nothing else: an explicit request
// to a broker would wait behind a fetch that waits for records.
func fetchOpts(cfg *Config) []kgo.Opt {
	most := int32(min(max(cfg.MaxInFlight/4, 64<<10), 16<<20))
	return append(slices.Clone(cfg.Kafka),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// an offset that is not there is told, never replaced
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(most),
		kgo.FetchMaxPartitionBytes(min(most, 1<<20)),
	)
}

// askOpts are the options of the client that asks, and produces dead letters.
func askOpts(cfg *Config) []kgo.Opt {
	return append(slices.Clone(cfg.Kafka),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), // letters.go chooses
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// A repeated dead letter is the same one. An idempotent producer would refuse everything
		// after a request whose outcome it does not know.
		kgo.DisableIdempotentWrite(),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(letterTimeout),
	)
}

// run polls until ctx ends.
func (f *fetcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		poll, cancel := context.WithCancel(ctx)
		f.mu.Lock()
		changes := f.changes
		f.changes, f.wake = nil, cancel
		f.mu.Unlock()
		for _, change := range changes {
			change()
		}
		fetches := f.client.PollFetches(poll)
		cancel()
		f.dispatch(fetches)
	}
}

// do has the polling goroutine run change before its next poll.
func (f *fetcher) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = append(f.changes, change)
	f.wake()
}

// add begins to fetch a partition.
func (f *fetcher) add(topic string, partition int32, pos Position) *source {
	s := newSource(topic, partition, pos.Topic)
	f.do(func() {
		f.renew(topic, pos.Topic)
		f.sourcesMu.Lock()
		f.sources[place(topic, partition)] = s
		f.sourcesMu.Unlock()
		f.client.AddConsumePartitions(
			map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(pos.Next).WithEpoch(
				pos.Epoch)}})
	})
	return s
}

// renew has the client forget a topic that was made again: it would ask for the old one for ever.
// Whatever else it fetches of the topic begins again.
func (f *fetcher) renew(topic string, id TopicID) {
	was := f.ids[topic]
	f.ids[topic] = id
	if !was.differs(id) {
		return
	}
	f.client.PurgeTopicsFromClient(topic)
	f.sourcesMu.Lock()
	defer f.sourcesMu.Unlock()
	for _, s := range f.sources {
		if s.topic == topic {
			s.fail(fmt.Errorf("kafka: topic %s has another ID now", topic))
		}
	}
}

// remove ends it.
func (f *fetcher) remove(s *source) {
	f.do(func() {
		f.sourcesMu.Lock()
		delete(f.sources, place(s.topic, s.partition))
		f.sourcesMu.Unlock()
		one := map[string][]int32{s.topic: {s.partition}}
		f.client.RemoveConsumePartitions(one)
		f.client.ResumeFetchPartitions(one)
	})
	s.fail(errors.New("no longer fetched"))
}

// limit is what may wait of one partition.
func (f *fetcher) limit() int {
	f.sourcesMu.Lock()
	defer f.sourcesMu.Unlock()
	return f.budget / 2 / max(1, len(f.sources))
}

func (f *fetcher) source(topic string, partition int32) *source {
	f.sourcesMu.Lock()
	defer f.sourcesMu.Unlock()
	return f.sources[place(topic, partition)]
}

// dispatch hands records to their partitions. Errors come first: after one that says that the log
// was cut off, the consumer goes on elsewhere by itself.
func (f *fetcher) dispatch(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, partition int32, err error) {
		if s := f.source(topic, partition); s != nil {
			s.fail(fmt.Errorf("kafka: %s: %w", place(topic, partition), err))
		}
	})
	limit := f.limit()
	fetches.EachTopic(func(t kgo.FetchTopic) {
		for _, p := range t.Partitions {
			s := f.source(t.Topic, p.Partition)
			switch {
			case s == nil || len(p.Records) == 0:
			case s.id.differs(t.TopicID):
				s.fail(fmt.Errorf("kafka: topic %s has another ID now", t.Topic))
			case s.push(p.Records, limit):
				f.client.PauseFetchPartitions(map[string][]int32{t.Topic: {p.Partition}})
			}
		}
	})
}

// take is the source's, and fetches on if there is room again.
func (f *fetcher) take(s *source, records, bytes int) ([]*kgo.Record, error) {
	taken, resume, err := s.take(records, bytes, f.limit())
	if resume {
		f.do(func() { f.client.ResumeFetchPartitions(map[string][]int32{s.topic: {s.partition}}) })
	}
	return taken, err
}
