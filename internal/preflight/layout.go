package preflight

import (
	"context"
	"errors"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/migrations"
	"github.com/sluice-outbox/sluice/outbox"
)

// checkLayout compares the outbox on both servers with what this build works on.
func (c *checker) checkLayout(ctx context.Context) {
	l := c.area("layout")
	ctx, cancel := bounded(ctx)
	defer cancel()
	layout, err := outbox.ReadLayout(ctx, c.redis, c.cfg.Outbox.Name)
	var unknown *outbox.LayoutError
	switch {
	case errors.Is(err, outbox.ErrNoLayout):
		l.fail("created", "sluice migrate apply", "outbox %s does not exist on %s", c.cfg.Outbox.Name,
			config.RedisName(c.cfg))
		return
	case errors.As(err, &unknown):
		l.fail("created", "sluice migrate status", "%s", unknown.Reason)
		return
	case err != nil:
		l.unknown("created", err, "")
		return
	}
	c.shards = layout.Shards
	m, err := migrations.New(c.redis, c.kafka, migrations.Config{
		Outbox: c.cfg.Outbox.Name, Shards: layout.Shards, DeadLetterTopic: c.cfg.Relay.DeadLetter.Topic,
		ReplicationFactor: c.cfg.Relay.Topics.ReplicationFactor,
	})
	if err != nil {
		l.fail("created", "", "%v", err)
		return
	}
	st, err := m.Status(ctx)
	if err != nil {
		l.unknown("parts", err, "sluice migrate status")
		return
	}
	if st.Version < st.Newest {
		l.fail("version", "sluice migrate apply", "version %d, a relay needs %d", st.Version, st.Newest)
	}
	for _, f := range st.Drift {
		l.fail("drift", f.Fix, "%s", f)
	}
	for _, note := range st.Notes {
		l.warn("note", "", "%s", note)
	}
	if st.Current() {
		l.ok("version", "version %d, %d shards, nothing is missing on either server", st.Version,
			st.Shards)
	}
	if c.cfg.Outbox.Shards != layout.Shards {
		l.warn("shards", "set outbox.shards to what the layout has",
			"outbox.shards is %d, the layout has %d, which counts", c.cfg.Outbox.Shards, layout.Shards)
	}
	for _, s := range c.cfg.Relay.Assign {
		if s >= layout.Shards {
			l.fail("assign", "assign shards below the number that the layout has",
				"relay.assign names shard %d, the layout has the shards 0 to %d", s, layout.Shards-1)
		}
	}
}
