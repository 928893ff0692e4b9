package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Apply carries out a plan of this Migrator's Plan. A plan with findings is refused with a
// *RefusedError and one without steps to do changes nothing.
//
// Every step is idempotent and nothing depends on a step having run once: Apply can be killed at
// any moment and run again with the same plan or a new one, and two can run at once. Before a
// version is recorded, all its topics are seen to exist in the wanted shape with a leader for each
// partition.
//
// An error leaves what was created so far. Errors: *RefusedError when another made a layout
// meanwhile that does not fit the configuration, ErrOvertaken, and whatever the servers said.
func (m *Migrator) Apply(ctx context.Context, plan Plan) error {
	if err := plan.Err(); err != nil {
		return err
	}
	if plan.Outbox != m.cfg.Outbox || plan.Shards != m.cfg.Shards || plan.To < 1 || plan.To > Newest {
		return fmt.Errorf(
			"migrations: the plan is for outbox %s with %s at version %d, not for outbox %s with %s",
			plan.Outbox, count(plan.Shards, "shard"), plan.To, m.cfg.Outbox, count(m.cfg.Shards, "shard"))
	}
	all := parts(m.cfg, plan.To)
	for _, step := range plan.Steps {
		if step.Action == Keep {
			continue
		}
		if err := m.do(ctx, step, all); err != nil {
			return fmt.Errorf("migrations: %s %s %s: %w", step.Action, step.Kind, step.Name, err)
		}
		if m.cfg.OnStep != nil {
			m.cfg.OnStep(step)
		}
	}
	return nil
}

// do carries out one step. What is created comes from the layout, not from the plan's text: a plan
// can only choose among its parts.
func (m *Migrator) do(ctx context.Context, step Step, all []part) error {
	switch step.Action {
	case Record:
		return m.record(ctx, step.Version, all)
	case Convert:
		return m.convertPositions(ctx)
	}
	i := slices.IndexFunc(all, func(p part) bool { return p.name == step.Name })
	if i < 0 || step.Action != Create {
		return errors.New("the layout of this configuration has no such step")
	}
	switch p := all[i]; step.Kind {
	case KindLayout:
		return m.moveVersion(ctx, absent, 0)
	case KindStream, KindGroup:
		return m.createGroup(ctx, p.name, step.Kind)
	case KindTopic:
		if err := m.createTopic(ctx, p); err != nil {
			return err
		}
		return m.awaitTopic(ctx, p)
	default:
		return errors.New("the layout of this configuration has no such step")
	}
}

// record moves the layout to a version of which every other step is done. Streams and groups need
// no second look, the server's replies have proved them; topics do, since those that the plan found
// may have been deleted, and two migrations can create one at the same time.
func (m *Migrator) record(ctx context.Context, version int, all []part) error {
	for _, p := range all {
		if p.kind == KindTopic && p.since == version {
			if err := m.awaitTopic(ctx, p); err != nil {
				return fmt.Errorf("topic %s: %w", p.name, err)
			}
		}
	}
	return m.moveVersion(ctx, strconv.Itoa(version-1), version)
}
