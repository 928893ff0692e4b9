package delivery

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The positions topic has two kinds of records in a shard's partition. The position has the key
// <outbox>/<shard>. A claim has the key <outbox>/<shard>/<lane>, and its tombstone withdraws it.

// RecordVersion is the version of both records' values.
const RecordVersion = 2

// Position is the value of a position record. It says how far a shard is, and what the transaction
// of that record holds of the shard.
type Position struct {
	V int `json:"v"`
	// Lane wrote it.
	Lane string `json:"lane"`
	// Records counts the records of this shard in the same transaction, and Wrote says where they are.
	Records int    `json:"records,omitempty"`
	Wrote   Places `json:"wrote,omitempty"`
	// Before is Wrote of the shard's previous transaction in the same lane, whose markers may not have
	// been written yet.
	Before Places `json:"before,omitempty"`
	// Position is the source's own.
	Position json.RawMessage `json:"position"`
}

// ParsePosition reads the value of a position record, and refuses a version that it does not know.
func ParsePosition(value []byte) (*Position, error) {
	var p Position
	if err := json.Unmarshal(value, &p); err != nil {
		return nil, fmt.Errorf("position record: %w", err)
	}
	if p.V != RecordVersion {
		return nil, fmt.Errorf(
			"position record has version %d, this version of sluice knows %d: run sluice migrate status",
			p.V, RecordVersion)
	}
	if len(p.Position) == 0 {
		return nil, fmt.Errorf("position record has no position")
	}
	return &p, nil
}

// None reports whether the record says that the shard has no position yet. A migration writes such
// a record so that relays of an earlier layout find one that they refuse.
func (p *Position) None() bool { return string(p.Position) == "null" }

// Places are partitions by topic. A topic without partitions means all of them.
type Places map[string][]int32

// maxPlaces bounds what a position record lists.
const maxPlaces = 1000

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string {
	return fmt.Sprintf("topic %s, partition %d", p.topic, p.partition)
}

// places lists a set in a short and canonical form.
func places(set map[place]int) Places {
	if len(set) == 0 {
		return nil
	}
	out := Places{}
	for at := range set {
		if len(set) > maxPlaces {
			out[at.topic] = []int32{}
		} else {
			out[at.topic] = append(out[at.topic], at.partition)
		}
	}
	for _, partitions := range out {
		slices.Sort(partitions)
	}
	return out
}

// merge adds other places to a copy.
func (p Places) merge(other Places) Places {
	out := Places{}
	for _, from := range []Places{p, other} {
		for topic, partitions := range from {
			have, known := out[topic]
			switch {
			case len(partitions) == 0, known && len(have) == 0:
				out[topic] = []int32{}
			default:
				all := append(slices.Clone(have), partitions...)
				slices.Sort(all)
				out[topic] = slices.Compact(all)
			}
		}
	}
	return out
}

// has reports whether a partition is among them.
func (p Places) has(at place) bool {
	partitions, ok := p[at.topic]
	return ok && (len(partitions) == 0 || slices.Contains(partitions, at.partition))
}

func (p Places) topics() []string { return slices.Sorted(maps.Keys(p)) }

// claim is the value of a claim. Both ids follow from the key; the rest is for people.
type claim struct {
	V     int    `json:"v"`
	Relay string `json:"relay"`
	AtMS  int64  `json:"at"`
}

// PositionKey is the key of a shard's position record.
func PositionKey(outbox string, shard int) string { return outbox + "/" + strconv.Itoa(shard) }

// newLaneName names a lane uniquely, for ever.
func newLaneName() string {
	return strings.ReplaceAll(uuid.NewString(), "-", "")
}

// keys are those of one shard's partition.
type keys struct {
	outbox string
	topic  string
	shard  int
}

func (k keys) position(value []byte) *kgo.Record {
	return &kgo.Record{
		Topic: k.topic, Partition: int32(k.shard),
		Key: []byte(PositionKey(k.outbox, k.shard)), Value: value,
	}
}

func (k keys) claimKey(lane string) string { return PositionKey(k.outbox, k.shard) + "/" + lane }

func (k keys) claim(lane, instance string, now time.Time) *kgo.Record {
	value, err := json.Marshal(claim{RecordVersion, instance, now.UnixMilli()})
	if err != nil {
		panic("delivery: a claim cannot be encoded: " + err.Error()) // two numbers and a string
	}
	return &kgo.Record{
		Topic: k.topic, Partition: int32(k.shard), Key: []byte(k.claimKey(lane)),
		Value: value,
	}
}

// tombstone withdraws a lane's claim.
func (k keys) tombstone(lane string) *kgo.Record {
	return &kgo.Record{Topic: k.topic, Partition: int32(k.shard), Key: []byte(k.claimKey(lane))}
}

// lane is the lane that a claim or its tombstone names; "" if the record is none.
func (k keys) lane(r *kgo.Record) string {
	prefix := PositionKey(k.outbox, k.shard) + "/"
	if lane, ok := strings.CutPrefix(string(r.Key), prefix); ok {
		return lane
	}
	return ""
}

func (k keys) isPosition(r *kgo.Record) bool {
	return string(r.Key) == PositionKey(k.outbox, k.shard)
}

// author is the lane that wrote a record of the partition; "" if it is unknown.
func (k keys) author(r *kgo.Record) string {
	if k.isPosition(r) {
		if p, err := ParsePosition(r.Value); err == nil {
			return p.Lane
		}
		return ""
	}
	if r.Value != nil {
		return k.lane(r)
	}
	for _, h := range r.Headers { // a tombstone names another lane than its author, if it is a barrier
		if h.Key == authorHeader {
			return string(h.Value)
		}
	}
	return k.lane(r)
}

// authorHeader names the lane that withdraws another lane's claim.
const authorHeader = "sluice-lane"

// withdrawal is a tombstone of another lane's claim.
func (k keys) withdrawal(lane, by string) *kgo.Record {
	r := k.tombstone(lane)
	r.Headers = []kgo.RecordHeader{{Key: authorHeader, Value: []byte(by)}}
	return r
}
