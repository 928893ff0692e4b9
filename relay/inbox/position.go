package inbox

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Position is how far a partition has taken effect: every committed record below Next has, and none
// from Next on. A dead-lettered or parked record counts as passed. It stands in a Redis key in the
// slot of the effects.
type Position struct {
	// Next is the offset of the first record that has not taken effect; 0 <= Next.
	Next int64 `json:"next"`
	// Topic is the topic's ID: a topic that was deleted and made again has another one. Zero where
	// brokers have none.
	Topic TopicID `json:"topic"`
	// Epoch is the leader epoch of the last record below Next; -1: unknown. It shows a log that was
	// truncated.
	Epoch int32 `json:"epoch"`
	// Count of the records that were passed since the inbox began. Letters of them are dead
	// letters.
	Count   uint64 `json:"count"`
	Letters uint64 `json:"letters,omitempty"`
	// Instance wrote the position at At, by its own clock. They inform.
	Instance string    `json:"instance"`
	At       time.Time `json:"at"`
}

// TopicID is a topic's ID as Kafka gives it.
type TopicID [16]byte

func (id TopicID) String() string { return hex.EncodeToString(id[:]) }

// known reports whether the broker has topic IDs.
func (id TopicID) known() bool { return id != TopicID{} }

// differs reports whether both are known and not the same.
func (id TopicID) differs(other TopicID) bool { return id.known() && other.known() && id != other }

// MarshalText makes TopicID a string in JSON.
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (id *TopicID) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(id) {
		return fmt.Errorf("topic ID %q: want 32 hex digits", b)
	}
	_, err := hex.Decode(id[:], b)
	return err
}

func (p Position) encode() string {
	b, err := json.Marshal(struct {
		Version int `json:"v"`
		Position
	}{1, p})
	if err != nil {
		panic("inbox: cannot encode a position: " + err.Error()) // no field can fail
	}
	return string(b)
}

// ParsePosition reads the value of a position key.
func ParsePosition(value string) (Position, error) {
	var v struct {
		Version int    `json:"v"`
		Next    *int64 `json:"next"` // hides the position's: 0 is a position, nothing is not
		Position
	}
	v.Epoch = -1
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		return Position{}, fmt.Errorf("not a position: %w", err)
	}
	switch {
	case v.Version != 1:
		return Position{}, fmt.Errorf("a position of version %d, this program knows version 1", v.Version)
	case v.Next == nil || *v.Next < 0:
		return Position{}, fmt.Errorf("a position without a valid next: %s", value)
	}
	v.Position.Next = *v.Next
	return v.Position, nil
}
