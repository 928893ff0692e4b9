package admin

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// Shard is one shard as it can be seen from outside.
type Shard struct {
	Shard int `json:"shard"`
	// State is what its relay reports (relay.State), or one of the states below.
	State string `json:"state"`
	// Since, Owner and the evidence of a halt come from the relay's report.
	Since    *time.Time `json:"since,omitempty"`
	Owner    string     `json:"owner,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Entry    string     `json:"entry,omitempty"`
	Expected string     `json:"expected,omitempty"`
	Found    string     `json:"found,omitempty"`
	// Next is the command that helps, where one is needed.
	Next string `json:"next,omitempty"`

	// Delivery is the side that keeps the position: exactly-once in Kafka, at-least-once in the
	// consumer group.
	Delivery string `json:"delivery,omitempty"`
	// Position is the last delivered entry; empty: none yet, or unknown.
	Position string `json:"position,omitempty"`
	// Delivered counts the entries up to the position; nil: unknown.
	Delivered *uint64 `json:"delivered"`
	// Missing counts entries that were gone before they could be delivered, as the position says.
	Missing uint64 `json:"missing,omitempty"`

	// LastEntry is the newest entry of the stream, empty if it never had one.
	LastEntry string `json:"last_entry,omitempty"`
	// Retained counts the entries that Redis holds; nil: unknown.
	Retained *int64 `json:"retained"`
	// Lag counts the entries after the position; nil: unknown.
	Lag *int64 `json:"lag"`
	// OldestUndelivered is the age in seconds of the first entry after the position, by Redis's clock,
	// 0 if there is none; nil: unknown.
	OldestUndelivered *float64 `json:"oldest_undelivered_seconds"`

	// Audited is the last entry up to which audits have compared everything; empty: none, or nobody
	// asked.
	Audited string `json:"audited,omitempty"`
	// TrimHeld is for how many seconds the first entry that waits for an audit could have been
	// trimmed; nil: none waits.
	TrimHeld *float64 `json:"trim_held_seconds,omitempty"`
}

// States beside those of relay.State.
const (
	StateNone    = "no relay"  // no relay has it
	StateUnknown = "unknown"   // Redis could not be asked
	StateAbsent  = "no stream" // the stream's key is gone or of another type
)

// facts are what was found about a shard. A nil field was not found out.
type facts struct {
	shard    int
	report   *control.Report
	pause    *control.Pause
	alone    bool // the relay group is known to have no members, and shards are not fixed
	info     *redis.XInfoStream
	noStream string // why info is nil although Redis answered
	group    *redis.XInfoGroup
	asked    bool            // Kafka was asked for the position
	position *relay.Position // nil: there is none
	next     *redis.XMessage // first entry that is not delivered
	none     bool            // there is no such entry
	now      time.Time       // by Redis's clock
}

// view draws the conclusions.
func (f facts) view() Shard {
	s := Shard{Shard: f.shard, State: StateNone}
	f.viewReport(&s)
	f.viewPosition(&s)
	if f.info == nil {
		if f.noStream != "" {
			s.State, s.Reason, s.Next = StateAbsent, f.noStream, "sluice migrate status"
		}
		return s
	}
	s.Retained = &f.info.Length
	if f.info.LastGeneratedID != "0-0" {
		s.LastEntry = f.info.LastGeneratedID
	}
	s.Lag = f.lag()
	switch {
	case f.none:
		s.OldestUndelivered = ptr(0.0)
	case f.next != nil:
		if id, err := outbox.ParseEntryID(f.next.ID); err == nil {
			s.OldestUndelivered = ptr(max(0, f.now.Sub(time.UnixMilli(int64(min(id.MS, 1<<62))))).Seconds())
		}
	}
	return s
}

func (f facts) viewReport(s *Shard) {
	if r := f.report; r != nil {
		s.State, s.Owner, s.Reason, s.Entry, s.Expected, s.Found = r.State, r.Instance, r.Reason, r.Entry,
			r.Expected, r.Found
		if r.SinceMS > 0 {
			s.Since = ptr(time.UnixMilli(r.SinceMS).UTC())
		}
	}
	switch relay.State(s.State) {
	case relay.StateStopped:
		s.State, s.Reason = StateNone, "its last relay, "+s.Owner+", has stopped"
		s.Owner = ""
	case relay.StateRunning, relay.StateStarting, relay.StateWaiting, relay.StatePaused,
		relay.StateHalted:
		// A relay that was killed cannot report it.
		if f.alone && relay.State(s.State) != relay.StateHalted {
			s.State, s.Reason = StateNone,
				fmt.Sprintf("%s reported %q, and the relay group is empty now", s.Owner, s.State)
			s.Owner = ""
		}
	}
	if f.pause != nil && (s.State == StateNone || relay.State(s.State) == relay.StatePaused) {
		s.State, s.Reason, s.Next = string(relay.StatePaused), f.pause.String(), "sluice resume"
	}
	switch s.State {
	case StateNone:
		s.Next = "sluice relay"
	case string(relay.StateHalted):
		s.Next = fmt.Sprintf("sluice resume --shard %d, with --after ENTRY, --from-start or --at-end",
			f.shard)
	}
}

func (f facts) viewPosition(s *Shard) {
	switch p := f.position; {
	case p != nil && p.Delivery == relay.DeliveryExactlyOnce:
		s.Delivery, s.Missing = p.Delivery.String(), p.Missing
		s.Delivered = &p.Count
		if !p.Entry.IsZero() {
			s.Position = p.Entry.String()
		}
	case p != nil && f.group != nil:
		s.Delivery = p.Delivery.String()
		if f.group.LastDeliveredID != "0-0" {
			s.Position = f.group.LastDeliveredID
		}
		if f.group.EntriesRead > 0 {
			s.Delivered = ptr(uint64(max(0, f.group.EntriesRead-f.group.Pending)))
		}
	case p != nil:
		s.Delivery = p.Delivery.String()
	case f.asked:
		s.Delivered = ptr(uint64(0))
	}
}

// lag counts the entries after the position from Redis's counter of added entries; a stream trimmed
// or deleted from by hand makes it an upper bound, which is why "nothing after the position" is
// looked at first.
func (f facts) lag() *int64 {
	info := f.info
	switch p := f.position; {
	case !f.asked:
		return nil
	case f.none:
		return ptr(int64(0))
	case p == nil:
		if info.EntriesAdded == info.Length {
			return &info.Length
		}
		return nil
	case p.Delivery == relay.DeliveryExactlyOnce && info.EntriesAdded > 0:
		return ptr(max(0, info.EntriesAdded-int64(p.Count+p.Missing)))
	case p.Delivery == relay.DeliveryAtLeastOnce && f.group != nil && f.group.Lag >= 0:
		return ptr(f.group.Lag + f.group.Pending)
	}
	return nil
}

func ptr[T any](v T) *T { return &v }
