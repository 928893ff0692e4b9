package relay

import "github.com/sluice-outbox/sluice/internal/options"

// Delivery says where a shard's position is kept. That decides whether a crash can repeat records.
type Delivery int

const (
	// DeliveryExactlyOnce keeps the position in Kafka, in the transaction of the records it covers.
	DeliveryExactlyOnce Delivery = iota
	// DeliveryAtLeastOnce keeps the position in the stream's consumer group; after a crash a record
	// may be there twice, with the same id header.
	DeliveryAtLeastOnce
)

var deliveryNames = []string{"exactly-once", "at-least-once"}

func (d Delivery) String() string { return options.Name(deliveryNames, int(d)) }

// ParseDelivery is the inverse of Delivery.String.
func ParseDelivery(s string) (Delivery, error) {
	return options.Parse[Delivery]("delivery", deliveryNames, s)
}

// MismatchPolicy says what a shard does when the entry at its position is gone or another one: the
// stream was rolled back or replaced (invariant 6).
type MismatchPolicy int

const (
	// MismatchHalt stops the shard with the evidence until an operator resumes it.
	MismatchHalt MismatchPolicy = iota
	// MismatchContinue goes on after the position's entry ID. Entries at or below it whose IDs Redis
	// used a second time are not delivered. An entry with the very ID of the position halts the shard
	// all the same.
	MismatchContinue
)

var mismatchNames = []string{"halt", "continue"}

func (p MismatchPolicy) String() string { return options.Name(mismatchNames, int(p)) }

// ParseMismatchPolicy is the inverse of MismatchPolicy.String.
func ParseMismatchPolicy(s string) (MismatchPolicy, error) {
	return options.Parse[MismatchPolicy]("mismatch policy", mismatchNames, s)
}

// UnknownTopicPolicy says what happens to an entry whose topic does not exist.
type UnknownTopicPolicy int

const (
	// UnknownTopicCreate creates it.
	UnknownTopicCreate UnknownTopicPolicy = iota
	// UnknownTopicDeadLetter dead-letters the entry with reason unknown_topic.
	UnknownTopicDeadLetter
	// UnknownTopicHalt stops the shard before the entry.
	UnknownTopicHalt
)

var unknownTopicNames = []string{"create", "dead_letter", "halt"}

func (p UnknownTopicPolicy) String() string { return options.Name(unknownTopicNames, int(p)) }

// ParseUnknownTopicPolicy is the inverse of UnknownTopicPolicy.String.
func ParseUnknownTopicPolicy(s string) (UnknownTopicPolicy, error) {
	return options.Parse[UnknownTopicPolicy]("unknown topic policy", unknownTopicNames, s)
}

// TopicChangePolicy says what happens to entries whose topic is not what it was when the relay
// first used it.
type TopicChangePolicy int

const (
	// TopicChangeHalt stops the shard before the next entry for the topic, until the relay is
	// restarted.
	TopicChangeHalt TopicChangePolicy = iota
	// TopicChangeContinue logs it and goes on. A topic that was created again lacks what was delivered
	// before. With another number of partitions the order of a key's events is not kept across the
	// change.
	TopicChangeContinue
)

var topicChangeNames = []string{"halt", "continue"}

func (p TopicChangePolicy) String() string { return options.Name(topicChangeNames, int(p)) }

// ParseTopicChangePolicy is the inverse of TopicChangePolicy.String.
func ParseTopicChangePolicy(s string) (TopicChangePolicy, error) {
	return options.Parse[TopicChangePolicy]("topic change policy", topicChangeNames, s)
}
