package testenv

import (
	"time"

	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// motion is what is known of one shard: how far it has come, and since when it has stood there with
// entries waiting. The zero value is a shard that was never looked at.
type motion struct {
	at    outbox.EntryID
	since time.Time
	heard time.Time // when its owner last said why
	told  bool      // this stillness was reported
}

// look notes where a shard is at a moment and where its stream ends. It returns for how long
// the shard has stood still; a shard without entries to deliver does not.
func (m *motion) look(now time.Time, at, end outbox.EntryID) time.Duration {
	moved := at.Compare(m.at) > 0
	if moved {
		m.at = at
	}
	// A shard that has been seen further on stays there: a mirror that is set back is no stillness.
	if moved || m.since.IsZero() || m.at.Compare(end) >= 0 {
		m.since, m.told = now, false
	}
	return now.Sub(m.since)
}

// silent is for how long a shard has neither moved nor been accounted for. An owner that dies has
// said why, and its successor needs time to find out.
func (m *motion) silent(now time.Time) time.Duration {
	if m.heard.After(m.since) {
		return now.Sub(m.heard)
	}
	return now.Sub(m.since)
}

// skip takes time in which nobody looked out of the account.
func (m *motion) skip(d time.Duration) {
	if !m.since.IsZero() {
		m.since = m.since.Add(d)
		m.heard = m.heard.Add(d)
	}
}

// silence is how old a status may be. Its owner repeats it every second, as the relays of an Env
// do housekeeping every 200 ms.
const silence = 5 * time.Second

// accounts reports whether a status says that its shard may stand still: it is in a state other
// than running, with a reason, or its time says that nobody speaks for the shard any more.
func (st Status) accounts(now time.Time) bool {
	if st.State == "" || now.Sub(time.UnixMilli(st.AtMS)) > silence {
		return true
	}
	return st.State != relay.StateRunning && st.Reason != ""
}
