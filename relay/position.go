package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/outbox"
)

// Position is how far a shard has been delivered: every entry at or below Entry, and none above it
// (invariant 2). A record of the compacted positions topic holds it, in the partition whose number
// is the shard's.
type Position struct {
	Delivery Delivery `json:"-"`
	// Entry is the last delivered entry; 0-0 before the first.
	Entry outbox.EntryID `json:"entry"`
	// Count of the entries delivered so far, dead-lettered ones among them.
	Count uint64 `json:"count"`
	// Missing counts entries that Redis says were added at or below Entry and that were gone before
	// they could be read: Count + Missing is what entries-added was at Entry.
	Missing uint64 `json:"missing,omitempty"`
	// Fingerprint of the entry: XXH64 over its fields as a RESP array of bulk strings, 16 hex digits.
	// Empty: there is no anchor to check, reading begins after Entry.
	Fingerprint string `json:"fingerprint"`
	// At is when the relay wrote the position, by its own clock. Nothing depends on it.
	At time.Time `json:"-"`
	// Relay is the instance that wrote it. Nothing depends on it.
	Relay string `json:"relay,omitempty"`
}

// MarshalJSON gives the position as a position record has it.
func (p Position) MarshalJSON() ([]byte, error) {
	type plain Position // without these methods
	return json.Marshal(struct {
		Delivery string `json:"delivery"`
		plain
		AtMS int64 `json:"at"`
	}{p.Delivery.String(), plain(p), p.At.UnixMilli()})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (p *Position) UnmarshalJSON(b []byte) error {
	type plain Position
	var v struct {
		Delivery string          `json:"delivery"`
		Entry    *outbox.EntryID `json:"entry"` // hides plain's: 0-0 is a position, nothing is not
		plain
		AtMS int64 `json:"at"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("position: %w", err)
	}
	d, err := ParseDelivery(v.Delivery)
	if err != nil {
		return fmt.Errorf("position: %w", err)
	}
	if v.Entry == nil {
		return errors.New("position has no entry")
	}
	*p = Position(v.plain)
	p.Entry = *v.Entry
	if _, err := parseFingerprint(p.Fingerprint); err != nil {
		return fmt.Errorf("position: %w", err)
	}
	p.Delivery, p.At = d, time.UnixMilli(v.AtMS)
	return nil
}

// ParsePosition reads the value of a record of the positions topic.
func ParsePosition(value []byte) (Position, error) {
	var p Position
	record, err := delivery.ParsePosition(value)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(record.Position, &p)
}
