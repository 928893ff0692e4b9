package outbox

import "github.com/sluice-outbox/sluice/internal/names"

// ValidateName reports whether name can be the name of an outbox: 1 to 100 characters, letters,
// digits, dot, underscore and hyphen, the first a letter or a digit. That is what fits both into a
// Redis hash tag and into a Kafka topic name with what Sluice puts around it.
func ValidateName(name string) error { return names.Validate(name) }

// SlotTag is the Redis Cluster hash tag of a shard, with its braces: a key that contains it lives
// in the same slot as the shard's stream and can be part of its transactions.
func SlotTag(outbox string, shard int) string { return names.SlotTag(outbox, shard) }

// StreamKey is the Redis stream of a shard.
func StreamKey(outbox string, shard int) string { return names.StreamKey(outbox, shard) }

// MarkerKey is the Redis key that remembers that an append with this idempotency key was committed.
func MarkerKey(outbox string, shard int, idempotencyKey string) string {
	return names.MarkerKey(outbox, shard, idempotencyKey)
}
