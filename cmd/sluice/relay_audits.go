package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/auditing"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/metrics"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// besideRelay is what a relay's process does about audits: it runs them, and follows how far they
// have come. Relay and audits share no client, so that neither waits for the other's connections.
// The relay knows nothing of audits but the limit of its trimming.
type besideRelay struct {
	*audits // nil if neither is wanted

	service  *auditing.Service
	progress *consistency.Progress
}

func newBesideRelay(c *config.Config, log *slog.Logger) (*besideRelay, error) {
	b := &besideRelay{}
	if c.Audit.Schedule == "" && !c.Relay.Trim.AfterAudit {
		return b, nil
	}
	var err error
	if b.audits, err = newAudits(c, config.ScheduledAuditConfig(c), log); err != nil {
		return nil, err
	}
	if c.Relay.Trim.AfterAudit {
		b.progress = b.Auditor.Progress()
	}
	return b, nil
}

// audit lets the process audit when r owns shard 0, if a schedule is set: of many relays one does.
// Two that believe for a moment that they own it compare the same thing twice.
func (b *besideRelay) audit(m *metrics.Relay, r *relay.Relay) (err error) {
	if b.audits == nil || b.config.Audit.Schedule == "" {
		return nil
	}
	turn := func() bool {
		return slices.ContainsFunc(r.Status(), func(s relay.ShardStatus) bool { return s.Shard == 0 })
	}
	if b.service, err = b.audits.service(m.Audits(turn)); err == nil {
		b.service.Turn = turn
	}
	return err
}

// limit is how far a shard may be trimmed.
func (b *besideRelay) limit(_ context.Context, shard int) (outbox.EntryID, error) {
	return b.progress.UpTo(shard)
}

// run audits and follows until ctx ends.
func (b *besideRelay) run(ctx context.Context) {
	var wg sync.WaitGroup
	if b.service != nil {
		wg.Go(func() { b.service.Run(ctx) })
	}
	if b.progress != nil {
		wg.Go(func() { b.progress.Run(ctx) })
	}
	wg.Wait()
}

func (b *besideRelay) close() {
	if b.audits != nil {
		b.audits.close()
	}
}
