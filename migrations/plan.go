package migrations

import (
	"context"
	"fmt"
	"strconv"

	"github.com/sluice-outbox/sluice/internal/names"
)

// Action is what a Step does.
type Action string

// The actions.
const (
	Keep   Action = "keep"   // the part exists and is as wanted: nothing is done
	Create Action = "create" // the part is created
	Record Action = "record" // the version is recorded as reached
	// Convert rewrites records of an earlier layout, once no relay of that layout can commit any more.
	Convert Action = "convert"
)

// Step is one line of a plan.
type Step struct {
	Version int    `json:"version"` // the layout version that it belongs to
	Store   Store  `json:"store"`
	Action  Action `json:"action"`
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"`             // the Redis key or Kafka topic
	Detail  string `json:"detail,omitempty"` // for people
	Repair  bool   `json:"repair,omitempty"` // the part existed and was lost
}

// Plan is what Apply will do, as data. It describes a moment: what others change afterwards makes
// Apply fail or do less, never something else.
type Plan struct {
	Outbox string `json:"outbox"`
	Shards int    `json:"shards"`
	From   int    `json:"from"` // the version that is reached now; 0 = none
	To     int    `json:"to"`   // the version aimed at

	// Steps are in the order in which they are carried out. Parts that exist are listed too.
	Steps []Step `json:"steps"`

	// Refused, if not empty, is why the plan cannot be applied. Steps may then be incomplete.
	Refused []Finding `json:"refused,omitempty"`

	// Notes are things that could not be checked, or that are missing and not a migration's to create;
	// they stop nothing.
	Notes []string `json:"notes,omitempty"`
}

// Empty reports that there is nothing to do.
func (p Plan) Empty() bool { return p.Todo() == 0 && len(p.Refused) == 0 }

// Todo is the number of steps that change something.
func (p Plan) Todo() int {
	n := 0
	for _, s := range p.Steps {
		if s.Action != Keep {
			n++
		}
	}
	return n
}

// Err returns a *RefusedError if the plan cannot be applied, else nil.
func (p Plan) Err() error {
	if len(p.Refused) == 0 {
		return nil
	}
	return &RefusedError{Outbox: p.Outbox, Findings: p.Refused}
}

// Plan compares the wanted layout of version target with what both servers have; target 0 means
// Newest. It changes nothing. What is in the way is in Plan.Refused, not in the error. The error is
// for servers that cannot be asked, ErrUnknownVersion and ErrNoWayBack.
func (m *Migrator) Plan(ctx context.Context, target int) (Plan, error) {
	if target == 0 {
		target = Newest
	}
	if target < 1 || target > Newest {
		return Plan{}, fmt.Errorf("%w: %d; this build knows 1 to %d", ErrUnknownVersion, target, Newest)
	}
	o, err := m.observe(ctx, target)
	if err != nil {
		return Plan{}, err
	}
	if o.layout.version > target && m.cfg.unknown(o.layout) == nil {
		return Plan{}, fmt.Errorf("%w: it is at version %d, not %d", ErrNoWayBack, o.layout.version,
			target)
	}
	return m.cfg.plan(o, target), nil
}

// plan decides the steps. It knows only what was observed.
func (cfg Config) plan(o observed, target int) Plan {
	p := Plan{
		Outbox: cfg.Outbox, Shards: cfg.Shards, From: o.layout.version, To: target,
		Steps: []Step{},
	}
	p.Refused, p.Notes = cfg.obstacles(o)
	if len(p.Refused) > 0 {
		return p
	}
	all := parts(cfg, target)
	for _, version := range Versions() {
		if version.Number > target {
			break
		}
		reached := o.layout.version >= version.Number
		for _, part := range all {
			if part.since == version.Number {
				p.add(cfg, version, part, cfg.judge(part, o, reached), reached)
			}
		}
		if version.Number == lanesVersion && o.layout.version == lanesVersion-1 {
			p.Steps = append(p.Steps, Step{
				Version: version.Number, Store: version.Store, Action: Convert, Kind: KindPositions,
				Name: names.PositionsTopic(cfg.Outbox),
				Detail: "fence the transactional ids of the earlier layout, and rewrite each shard's " +
					"position for lanes",
			})
		}
		if !reached {
			p.Steps = append(p.Steps, Step{
				Version: version.Number, Store: Redis, Action: Record, Kind: KindVersion,
				Name: names.LayoutKey(cfg.Outbox), Detail: "version " + strconv.Itoa(version.Number),
			})
		}
	}
	return p
}

// obstacles returns what makes planning pointless, and the notes.
func (cfg Config) obstacles(o observed) (refused []Finding, notes []string) {
	if o.redis.old() {
		refused = append(refused, Finding{
			Problem: OldRedis, Name: "Redis",
			Detail: fmt.Sprintf("is version %s, want 7.0 or later", o.redis.text),
			Fix: "upgrade Redis: before 7.0 it does not count the entries of a stream, which lag and " +
				"audits rest on",
		})
	}
	if f := cfg.unknown(o.layout); f != nil {
		refused = append(refused, *f)
	}
	if o.kafka.noTransactions != "" {
		refused = append(refused, Finding{
			Problem: NoTransactions, Name: "Kafka " + o.kafka.noTransactions,
			Detail: "does not offer transactions",
			Fix:    "use Apache Kafka 0.11 or later, or a compatible broker with transactions enabled",
		})
	}
	refused = append(refused, cfg.nameInUse(o)...)
	if o.relays != "" {
		refused = append(refused, Finding{
			Problem: RelaysRunning, Name: names.RelayGroup(cfg.Outbox),
			Detail: o.relays + ", of the earlier layout or of a later one",
			Fix: "stop every relay of this outbox, run this again, and start relays of this version: " +
				"both layouts cannot deliver at once",
		})
	}
	if !o.redis.known() {
		notes = append(notes, "Redis does not tell its version: that it is 7.0 or later was not checked")
	}
	return refused, notes
}

// add appends the step, or the finding, that a judgement calls for.
func (p *Plan) add(cfg Config, version Version, part part, v judgement, reached bool) {
	step := Step{
		Version: version.Number, Store: version.Store, Action: Keep, Kind: part.kind,
		Name: part.name,
	}
	switch {
	case v.wrong != nil:
		p.Refused = append(p.Refused, *v.wrong)
		return
	case v.others != nil:
		p.Notes = append(p.Notes, v.others.String()+": "+v.others.Fix)
		return
	case v.lost && !cfg.RecreatePositions:
		p.Refused = append(p.Refused, positionsLost(part.name))
		return
	case !v.fine:
		part.kind = v.missing
		step.Action, step.Kind, step.Repair = Create, v.missing, reached
		step.Detail = part.creation(cfg)
		if reached {
			step.Detail += "; " + afterRepair(v)
		}
	}
	p.Steps = append(p.Steps, step)
}

func positionsLost(topic string) Finding {
	return Finding{
		Problem: PositionsLost, Name: topic,
		Detail: "existed and is gone, and with it how far each shard was delivered: a relay would not " +
			"know its position",
		Fix: "restore the topic from a copy if there is one; otherwise stop the relays, run 'sluice " +
			"migrate apply --recreate-positions' and " +
			"give each shard its position with 'sluice resume --shard N --after ENTRY' before they start " +
			"again: the newest sluice-entry " +
			"header of a shard in the topics it delivers to names the entry",
	}
}

// afterRepair says what creating a lost part does not bring back.
func afterRepair(v judgement) string {
	switch {
	case v.lost:
		return "every shard's position must be set by hand"
	case v.missing == KindLayout:
		return "it was lost"
	case v.missing == KindStream:
		return "entries of the lost stream do not come back; with exactly-once delivery the shard " +
			"halts at its missing position"
	case v.missing == KindGroup:
		return "nothing was delivered from the stream yet"
	default:
		return "dead letters that were in it do not come back"
	}
}
