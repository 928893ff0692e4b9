package migrations

import (
	"context"
	"time"
)

// Status is what the layout is, and how it differs from what it should be.
type Status struct {
	Outbox  string    `json:"outbox"`
	Version int       `json:"version"` // reached; 0 = none, or a migration has begun and not ended
	Newest  int       `json:"newest"`  // what this build knows
	Format  int       `json:"format,omitempty"`
	Shards  int       `json:"shards,omitempty"`
	Created time.Time `json:"created,omitzero"` // by the clock of the machine that created it

	// Drift is what differs from the layout of the reached version: parts that are missing or have
	// another shape. What a version that is not reached yet would add is no drift.
	Drift []Finding `json:"drift"`

	// Notes are things that could not be checked.
	Notes []string `json:"notes,omitempty"`
}

// Current reports that relays of this build can work on the layout: the newest version is reached
// and nothing has drifted.
func (s Status) Current() bool { return s.Version == s.Newest && len(s.Drift) == 0 }

// Status reads the layout and compares every part of the reached version with it. It changes
// nothing. Kafka is asked only if the reached version has parts there. The error is for servers
// that cannot be asked.
func (m *Migrator) Status(ctx context.Context) (Status, error) {
	o, err := m.observe(ctx, 0)
	if err != nil {
		return Status{}, err
	}
	return m.cfg.status(o), nil
}

// status decides the drift. It knows only what was observed.
func (cfg Config) status(o observed) Status {
	s := Status{
		Outbox: cfg.Outbox, Newest: Newest, Drift: []Finding{},
		Version: o.layout.version, Format: o.layout.format, Shards: o.layout.shards,
	}
	if o.layout.created > 0 {
		s.Created = time.UnixMilli(o.layout.created).UTC()
	}
	var obstacles []Finding
	obstacles, s.Notes = cfg.obstacles(o)
	s.Drift = append(s.Drift, obstacles...)
	if o.streams == nil || o.kafka.noTransactions != "" || !o.layout.exists {
		return s
	}
	for _, p := range parts(cfg, o.layout.version) {
		v := cfg.judge(p, o, true)
		switch {
		case v.wrong != nil:
			s.Drift = append(s.Drift, *v.wrong)
		case v.others != nil:
			s.Drift = append(s.Drift, *v.others)
		case v.lost:
			s.Drift = append(s.Drift, positionsLost(p.name))
		case !v.fine:
			s.Drift = append(s.Drift, missing(p, v.missing))
		}
	}
	return s
}

func missing(p part, what Kind) Finding {
	f := Finding{
		Problem: Missing, Name: p.name, Detail: "does not exist",
		Fix: "run 'sluice migrate apply' to create it again",
	}
	if what == KindGroup {
		f.Detail = "has no consumer group"
	}
	return f
}
