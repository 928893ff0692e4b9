// Package names builds every Redis key and every Kafka name of an outbox, so that a reader can see
// in one file what an outbox owns on both sides. Package outbox shows applications those that they
// need.
package names

import (
	"fmt"
	"regexp"
	"strconv"
)

// ConsumerGroup is the name of the Redis consumer group on every shard's stream. In exactly-once
// delivery it mirrors the committed position for Redis tools; in at-least-once delivery it is the
// position.
const ConsumerGroup = "sluice"

var outboxName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Validate reports whether name can be the name of an outbox: 1 to 100 characters, letters, digits,
// dot, underscore and hyphen, the first a letter or a digit. That is what fits both into a Redis
// hash tag and into a Kafka topic name with what Sluice puts around it.
func Validate(name string) error {
	if !outboxName.MatchString(name) {
		return fmt.Errorf(
			"outbox name %q: want 1 to 100 of letters, digits, '.', '_' and '-', the first a letter or a "+
				"digit", name)
	}
	return nil
}

// SlotTag is the Redis Cluster hash tag of a shard, with its braces: a key that contains it lives
// in the same slot as the shard's stream and can be part of its transactions.
func SlotTag(outbox string, shard int) string {
	return "{" + outbox + ":" + strconv.Itoa(shard) + "}"
}

// StreamKey is the Redis stream of a shard.
func StreamKey(outbox string, shard int) string {
	return "sluice:" + SlotTag(outbox, shard)
}

// MarkerKey is the Redis key that remembers that an append with this idempotency key was committed.
func MarkerKey(outbox string, shard int, idempotencyKey string) string {
	return StreamKey(outbox, shard) + ":once:" + idempotencyKey
}

// LayoutKey is the Redis hash that describes the outbox: layout version, format, shards.
func LayoutKey(outbox string) string { return "sluice:{" + outbox + "}:layout" }

// ControlKey is the Redis hash with which operators pause shards.
func ControlKey(outbox string) string { return "sluice:{" + outbox + "}:control" }

// StatusKey is the Redis hash in which relays tell the state of their shards. It informs; nothing
// that matters for safety is decided by it.
func StatusKey(outbox string) string { return "sluice:{" + outbox + "}:status" }

// RelayGroup is the Kafka consumer group through which relays share the shards of an outbox.
func RelayGroup(outbox string) string { return "sluice." + outbox }

// PositionsTopic is the compacted Kafka topic of committed positions; its partition is the shard.
func PositionsTopic(outbox string) string { return "sluice." + outbox + ".positions" }

// DeadLetterTopic is the default Kafka topic for entries that cannot be delivered.
func DeadLetterTopic(outbox string) string { return "sluice." + outbox + ".dlq" }

// AuditsTopic is the compacted Kafka topic in which audits keep their state and their reports.
func AuditsTopic(outbox string) string { return "sluice." + outbox + ".audits" }

// RepairID is the Kafka transactional id of repairs.
func RepairID(outbox string) string { return "sluice." + outbox + ".repair" }

// LaneID is the Kafka transactional id of a relay's lane; turn is 'a' or 'b', or 'p' for what it
// only tries.
func LaneID(outbox, lane string, turn byte) string {
	return "sluice." + outbox + ".lane." + lane + "." + string(turn)
}

// ShardID is the Kafka transactional id that a shard had of its own up to layout version 2; turn is
// 'a' or 'b'. Migrations fence it, nothing else uses it.
func ShardID(outbox string, shard int, turn byte) string {
	return "sluice." + outbox + "." + strconv.Itoa(shard) + "." + string(turn)
}
