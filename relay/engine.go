package relay

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// newEngine makes the engine that carries a relay's shards to Kafka.
func newEngine(cfg *Config, client *kgo.Client, topics *topics) *delivery.Engine {
	return delivery.New(delivery.Config{
		Outbox: cfg.Outbox, Topic: names.PositionsTopic(cfg.Outbox), Client: client,
		Producer: producerOpts(cfg, topics.limit),
		Instance: cfg.Instance, Logger: cfg.Logger.With("outbox", cfg.Outbox),
		Lanes: cfg.Lanes, Linger: cfg.Linger, MaxEntries: cfg.MaxEntries, MaxBytes: cfg.MaxBytes,
		MaxInFlight:        int64(cfg.MaxInFlight),
		TransactionTimeout: cfg.TransactionTimeout, DrainTimeout: cfg.DrainTimeout,
		Origin: func(r *kgo.Record) (int, bool) {
			name, _, shard := originOf(r)
			return shard, name == cfg.Outbox
		},
		Covers: func(position json.RawMessage, r *kgo.Record) bool {
			var p Position
			return position != nil && json.Unmarshal(position, &p) == nil && entryOf(r).Compare(p.Entry) <= 0
		},
		Known: func() []string {
			return append(append(topics.names(), cfg.DeadLetter.Topic), cfg.staticRoute()...)
		},
		Failed:      topics.forget,
		Transaction: cfg.Observer.Transaction,
	})
}

// originOf reads the header sluice-entry, <outbox>/<shard>/<entry ID>.
func originOf(r *kgo.Record) (outboxName string, id outbox.EntryID, shard int) {
	for _, h := range r.Headers {
		if h.Key != "sluice-entry" {
			continue
		}
		parts := strings.Split(string(h.Value), "/")
		if len(parts) != 3 {
			return "", outbox.EntryID{}, 0
		}
		shard, err := strconv.Atoi(parts[1])
		if err != nil {
			return "", outbox.EntryID{}, 0
		}
		if id, err = outbox.ParseEntryID(parts[2]); err != nil {
			return "", outbox.EntryID{}, 0
		}
		return parts[0], id, shard
	}
	return "", outbox.EntryID{}, 0
}

// newPublisher is the producer of at-least-once delivery: idempotent, so that its own retries
// neither double nor reorder records.
func newPublisher(cfg *Config, batchBytes func(string) int32) (*kgo.Client, error) {
	// No linger: nothing flushes.
	return kgo.NewClient(append(producerOpts(cfg, batchBytes),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
}

// producerOpts are the options of every producer.
func producerOpts(cfg *Config, batchBytes func(string) int32) []kgo.Opt {
	return append(clientOpts(cfg),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytesFn(batchBytes),
		// The relay bounds what it sends; the client's own bound must not block within a transaction.
		kgo.MaxBufferedRecords(1<<24),
		kgo.UnknownTopicRetries(3),
		kgo.ProduceRequestTimeout(max(cfg.TransactionTimeout/2, time.Second)),
	)
}

// clientOpts are the options of every client. The caller's come first, so that the relay's own win.
func clientOpts(cfg *Config) []kgo.Opt {
	return append(slices.Clone(cfg.Kafka), kgo.MetadataMinAge(metadataMinAge),
		kgo.RequestTimeoutOverhead(requestTimeout))
}

// requestTimeout is how long an answer may take beyond what its request allows the broker. Nothing
// else notices a peer that vanished without closing its connection.
const requestTimeout = 3 * time.Second

// metadataMinAge is how old cached metadata may be when it is asked for. With the default of five
// seconds a topic that was just created would stay unknown that long.
const metadataMinAge = 100 * time.Millisecond
