package inbox

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is a record of Kafka, with what Sluice knows about it. Its bytes are the consumer's: do
// not change them.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp time.Time

	// Key is the record's key; HasKey tells an empty one from none.
	Key    string
	HasKey bool
	// Value is the payload: the record's value, or what a structured CloudEvent carries. nil is a
	// tombstone, or a CloudEvent without data.
	Value []byte
	// Headers are all of the record's, in their order.
	Headers []Header

	// ID, Type, AggregateType, AggregateID and ContentType are the event's, from the headers of the
	// format raw or the attributes of a CloudEvent; empty where the record does not say.
	// AggregateID is a CloudEvent's subject.
	ID, Type, AggregateType, AggregateID, ContentType string
	// Source and Time are a CloudEvent's; Time is the timestamp otherwise.
	Source string
	Time   time.Time
	// Entry leads back to the outbox: <outbox>/<shard>/<entry ID>. Empty for records that no relay
	// has written.
	Entry string
}

// Header is a header of a record.
type Header struct {
	Name  string
	Value []byte
}

// Header is the value of the last header of that name.
func (r Record) Header(name string) (string, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Name == name {
			return string(r.Headers[i].Value), true
		}
	}
	return "", false
}

// Tombstone reports whether the record says that what its key names is gone.
func (r Record) Tombstone() bool { return r.Value == nil }

// unfold gives what Sluice knows of a record. The error says why a structured CloudEvent is none.
func unfold(k *kgo.Record) (Record, error) {
	r := Record{
		Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, Timestamp: k.Timestamp,
		Time: k.Timestamp,
		Key:  string(k.Key), HasKey: k.Key != nil, Value: k.Value,
	}
	if len(k.Headers) > 0 {
		r.Headers = make([]Header, len(k.Headers))
	}
	for i, h := range k.Headers {
		r.Headers[i] = Header{Name: h.Key, Value: h.Value}
		switch h.Key {
		case "id", "ce_id":
			r.ID = string(h.Value)
		case "type", "ce_type":
			r.Type = string(h.Value)
		case "content-type":
			r.ContentType = string(h.Value)
		case "sluice-entry":
			r.Entry = string(h.Value)
		case "ce_subject":
			r.AggregateID = string(h.Value)
		case "ce_aggregatetype":
			r.AggregateType = string(h.Value)
		case "ce_source":
			r.Source = string(h.Value)
		case "ce_time":
			if at, err := time.Parse(time.RFC3339Nano, string(h.Value)); err == nil {
				r.Time = at
			}
		}
	}
	if isStructured(r.ContentType) && k.Value != nil {
		return r, r.unfoldStructured()
	}
	return r, nil
}

// weight is about what a record holds in memory.
func weight(k *kgo.Record) int {
	n := 200 + len(k.Key) + len(k.Value)
	for _, h := range k.Headers {
		n += 40 + len(h.Key) + len(h.Value)
	}
	return n
}
