package migrations

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// Newest is the newest layout version that this build knows: what Plan aims at unless told
// otherwise, and what relays of this build need. Writers need version 1.
const Newest = 3

// A Version is one numbered state of the layout.
type Version struct {
	Number  int    `json:"number"`
	Store   Store  `json:"store"`
	Summary string `json:"summary"`
}

// Versions lists what each layout version adds to the one before it, the oldest first.
func Versions() []Version {
	return []Version{
		{Number: 1, Store: Redis, Summary: "layout hash, streams and consumer groups"},
		{Number: 2, Store: Kafka, Summary: "positions topic and dead-letter topic"},
		{Number: 3, Store: Kafka, Summary: "positions of lanes, which several shards share"},
	}
}

// Store is the server that a part of the layout lives on.
type Store string

// The stores.
const (
	Redis Store = "redis"
	Kafka Store = "kafka"
)

// Kind says what a part of the layout is.
type Kind string

// The kinds.
const (
	KindLayout Kind = "layout" // the Redis hash that describes the outbox
	KindStream Kind = "stream" // a shard's Redis stream together with its consumer group
	KindGroup  Kind = "group"  // the consumer group alone, where its stream exists already
	KindTopic  Kind = "topic"  // a Kafka topic
	// KindPositions are the records of the positions topic, which change with the protocol of
	// delivery.
	KindPositions Kind = "positions"
	// not a part: the record in the layout hash that a version is reached
	KindVersion Kind = "version"
)

// Settings of the topics that Sluice creates. They are what a topic is created with; of an existing
// one only what delivery rests on is checked, see checkTopic.
const (
	// positionsSegmentBytes keeps little uncompacted: the active segment is never compacted, and
	// whoever takes a shard over reads its partition from the beginning. Brokers from 4.0 on accept
	// nothing below 1 MiB.
	positionsSegmentBytes = 1 << 20

	// positionsDeleteRetention is how long the clean-up keeps the commit marker of a transaction whose
	// position record is already superseded. A marker takes 78 bytes; with the default of a day a
	// shard at 200 transactions a second keeps more than a gigabyte of them, all of which a starting
	// relay has to read. (Seen on Kafka 4.3: without this the topic grows by the markers, with it it
	// does not.) Tombstones of claims go as soon: a reader that misses one fences a lane that is dead
	// already.
	positionsDeleteRetention = 60 * 1000 // ms

	// deadLetterChunk is the most of an entry that one dead-letter record carries; a larger entry is
	// cut.
	deadLetterChunk = 512 << 10

	// deadLetterMaxMessage is max.message.bytes of the dead-letter topic: Kafka's own default, stated
	// so that a lower default of the broker does not apply. It holds a chunk, its key and headers, and
	// a producer's usual batch of up to 1 MB.
	deadLetterMaxMessage = 1<<20 + 12

	// deadLetterLeastMessage is what an existing dead-letter topic must accept: a chunk with room for
	// its key and headers.
	deadLetterLeastMessage = deadLetterChunk + 64<<10
)

// part is one thing that must exist from layout version since on.
type part struct {
	since int
	kind  Kind
	name  string // Redis key or Kafka topic; no two parts share one
	shard int    // of a stream

	topic topicPart // only for kind KindTopic
}

// topicPart is the wanted shape of a topic.
type topicPart struct {
	positions  bool // it is the positions topic, else the dead-letter topic
	partitions int
	settings   map[string]string // what it is created with
}

// parts returns what the outbox of cfg consists of at the given layout version, in the order in
// which it is created. The layout hash comes first, since it claims the name and the number of
// shards.
func parts(cfg Config, version int) []part {
	all := []part{{since: 1, kind: KindLayout, name: names.LayoutKey(cfg.Outbox)}}
	for shard := range cfg.Shards {
		all = append(all, part{
			since: 1, kind: KindStream, name: outbox.StreamKey(cfg.Outbox, shard),
			shard: shard,
		})
	}
	all = append(all,
		part{since: 2, kind: KindTopic, name: names.PositionsTopic(cfg.Outbox), topic: topicPart{
			positions:  true,
			partitions: cfg.Shards,
			settings: durable(cfg, map[string]string{
				"cleanup.policy":      "compact",
				"segment.bytes":       strconv.Itoa(positionsSegmentBytes),
				"delete.retention.ms": strconv.Itoa(positionsDeleteRetention),
			}),
		}},
		part{since: 2, kind: KindTopic, name: cfg.DeadLetterTopic, topic: topicPart{
			partitions: cfg.Shards,
			settings: durable(cfg, map[string]string{
				"cleanup.policy":    "compact",
				"max.message.bytes": strconv.Itoa(deadLetterMaxMessage),
			}),
		}},
	)
	return slices.DeleteFunc(all, func(p part) bool { return p.since > version })
}

// durable adds min.insync.replicas where the replication factor is ours to choose: a majority of
// three or more replicas, so that an acknowledged position survives the loss of a broker and one
// broker may be down; with one or two replicas 1, since asking for both would stop delivery
// whenever either is down. Where the broker chooses the factor it chooses this too.
func durable(cfg Config, settings map[string]string) map[string]string {
	if cfg.ReplicationFactor == 0 {
		return settings
	}
	least := 1
	if cfg.ReplicationFactor >= 3 {
		least = cfg.ReplicationFactor/2 + 1
	}
	settings["min.insync.replicas"] = strconv.Itoa(least)
	return settings
}

// creation describes for a reader what will be created.
func (p part) creation(cfg Config) string {
	switch p.kind {
	case KindLayout:
		return fmt.Sprintf("format %d, %s", outbox.FormatVersion, count(cfg.Shards, "shard"))
	case KindStream:
		return "empty, with consumer group " + names.ConsumerGroup + " at 0"
	case KindGroup:
		return "consumer group " + names.ConsumerGroup + " at 0"
	default:
		words := []string{count(p.topic.partitions, "partition")}
		if cfg.ReplicationFactor > 0 {
			words = append(words, fmt.Sprintf("replication factor %d", cfg.ReplicationFactor))
		}
		for _, key := range slices.Sorted(maps.Keys(p.topic.settings)) {
			words = append(words, key+"="+p.topic.settings[key])
		}
		return strings.Join(words, ", ")
	}
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
