package inbox

import (
	"strconv"

	"github.com/sluice-outbox/sluice/outbox"
)

// Every Redis key and Kafka name of an inbox is built in this file and nowhere else.

// Group is the Kafka consumer group through which instances share the partitions.
func Group(inbox string) string { return "sluice-inbox." + inbox }

// DeadLetterTopic is the default Kafka topic for records that could not be applied.
func DeadLetterTopic(inbox string) string { return "sluice-inbox." + inbox + ".dlq" }

// LayoutKey is the Redis hash of what has to stay the same from start to start; see Layout.
func LayoutKey(inbox string) string { return "sluice:{" + inbox + "}:inbox" }

// ControlKey is the Redis hash with which operators pause partitions.
func ControlKey(inbox string) string { return LayoutKey(inbox) + ":control" }

// StatusKey is the Redis hash in which instances tell the state of their partitions. It informs.
func StatusKey(inbox string) string { return LayoutKey(inbox) + ":status" }

// keys are what an inbox has in the hash slot of a partition's state.
type keys struct {
	tag      string // with its braces
	position string // a string: Position
	parked   string // a hash: record key to parkedKey
	replay   string // a hash: what operators want applied again
	owed     string // a hash: offset to what is to be told of it, until the dead letter is confirmed
}

// keysOf are the keys of a partition whose tag has this name and number.
func keysOf(inbox, tagName string, slot int, topic string, partition int32) keys {
	tag := outbox.SlotTag(tagName, slot)
	base := "sluice:" + tag + ":inbox:" + inbox + ":" + topic + ":" + strconv.Itoa(int(partition))
	return keys{
		tag: tag, position: base, parked: base + ":parked", replay: base + ":replay",
		owed: base + ":owed",
	}
}

func (k keys) state(name string) string { return k.tag + ":" + name }

// place names a partition, as in "outbox.event.order/3".
func place(topic string, partition int32) string {
	return topic + "/" + strconv.Itoa(int(partition))
}
