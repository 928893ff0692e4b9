package outbox

import (
	"strings"
	"time"
)

// Event is what an application wants others to learn. It becomes one entry of a shard's stream and,
// through a relay, one record in Kafka.
type Event struct {
	// ID names the event for ever: consumers use it to tell a repetition from something new. Empty:
	// the writer generates a UUIDv7. Given: any text of 1 to 200 bytes, UTF-8 without control
	// characters; a UUIDv7 is what other writers of the format use. The writer does not check that it
	// is unique.
	ID string

	// AggregateType and AggregateID name the thing that changed, for example "order" and "42". The
	// default route to a topic is made of the type; the default key is the ID.
	AggregateType string
	AggregateID   string

	// Type says what happened, for example "OrderPlaced".
	Type string

	// Payload reaches Kafka untouched. An empty one is an empty value, or a Kafka null (a tombstone)
	// if the relay has tombstones enabled.
	Payload []byte

	// Headers become Kafka headers. Names and values are UTF-8; names for which ReservedHeader is true
	// are refused. The writer stores them sorted by name. It does not change the map.
	Headers map[string]string

	// Topic overrides the relay's route, if set.
	Topic string

	// Key overrides AggregateID as the key, if set. Events with one key stay in order.
	Key string

	// ContentType is the media type of the payload, if set.
	ContentType string

	// Time is when it happened, kept to the millisecond. The zero time means: when it was committed,
	// according to the entry ID.
	Time time.Time
}

// RoutingKey is the key that decides the event's shard and its Kafka partition: Key if set, else
// AggregateID.
func (e Event) RoutingKey() string {
	if e.Key != "" {
		return e.Key
	}
	return e.AggregateID
}

// ReservedHeader reports whether Sluice itself writes Kafka headers of this name, so that an event
// cannot: "id", "type", "content-type" and every name that begins with "sluice-" or "ce_". Names
// are compared as Kafka compares them, byte by byte.
func ReservedHeader(name string) bool {
	switch name {
	case "id", "type", "content-type":
		return true
	}
	return strings.HasPrefix(name, "sluice-") || strings.HasPrefix(name, "ce_")
}
