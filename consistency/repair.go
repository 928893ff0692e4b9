package consistency

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
)

// Plan says what a repair would do: send entries again that audits have reported as lost, in their order, each marked by the header
// sluice-repair. Nothing is ever deleted from Kafka.
type Plan struct {
	V      int        `json:"v"`
	Outbox string     `json:"outbox"`
	Run    int64      `json:"run"` // the last audit before the plan was made
	Made   time.Time  `json:"made"`
	Send   []PlanItem `json:"send"`
	// Cannot says which lost entries cannot be sent again, and why.
	Cannot []string `json:"cannot"`
}

// PlanItem is one entry to be sent again. Hash is that of its bytes in Redis.
type PlanItem struct {
	Shard     int     `json:"shard"`
	Entry     EntryID `json:"entry"`
	ID        string  `json:"id"`
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Hash      string  `json:"hash"`
}

// ErrPlanStale says that what a plan rests on has changed since it was made. Nothing was sent; audit again and make another plan.
var ErrPlanStale = errors.New("the plan no longer fits")

// Plan makes a plan for all entries that audits have reported as lost and that have not come since. It changes nothing.
func (a *Auditor) Plan(ctx context.Context) (*Plan, error) {
	s, err := a.open(nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	state, _, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	p := &Plan{V: 1, Outbox: a.cfg.Outbox, Run: state.Run, Made: time.Now().UTC(), Send: []PlanItem{}, Cannot: []string{}}
	e := a.planner(s)
	for shard := range state.Shards {
		for _, id := range state.Shards[shard].Lost {
			item, _, err := e.resend(ctx, shard, id)
			var cannot cannotSendError
			switch {
			case errors.As(err, &cannot):
				p.Cannot = append(p.Cannot, cannot.Error())
			case err != nil:
				return nil, err
			default:
				p.Send = append(p.Send, item)
			}
		}
	}
	slices.SortFunc(p.Send, func(a, b PlanItem) int {
		if a.Shard != b.Shard || a.Entry == b.Entry {
			return cmp.Compare(a.Shard, b.Shard)
		}
		if a.Entry.Less(b.Entry) {
			return -1
		}
		return 1
	})
	return p, nil
}

// Repair does what a plan says, in one Kafka transaction, after it has looked whether the plan still fits: each entry must be the one that
// was planned, its topic and partition too, and no topic may hold a record of it. It returns how many records were committed. An error that
// does not wrap ErrPlanStale leaves open whether the transaction was committed; the next audit tells.
func (a *Auditor) Repair(ctx context.Context, p *Plan) (int, error) {
	if p.V != 1 || p.Outbox != a.cfg.Outbox {
		return 0, fmt.Errorf("%w: it is of outbox %q and version %d", ErrPlanStale, p.Outbox, p.V)
	}
	if len(p.Send) == 0 {
		return 0, nil
	}
	s, err := a.open(nil)
	if err != nil {
		return 0, err
	}
	defer s.close()
	// The transactional id keeps two repairs apart: the one that begins later ends the earlier one, and looks afterwards.
	producer, err := kgo.NewClient(append(append([]kgo.Opt(nil), a.cfg.Kafka...), kgo.TransactionalID(names.RepairID(a.cfg.Outbox)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(time.Minute))...)
	if err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	defer producer.Close()
	if _, _, err := producer.ProducerID(ctx); err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	records, err := a.check(ctx, s, p)
	if err != nil {
		return 0, err
	}
	if err := producer.BeginTransaction(); err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		_ = producer.EndTransaction(context.WithoutCancel(ctx), kgo.TryAbort) // it ends by its time-out otherwise
		return 0, fmt.Errorf("kafka: %w: nothing was committed", err)
	}
	if err := producer.EndTransaction(context.WithoutCancel(ctx), kgo.TryCommit); err != nil {
		return 0, fmt.Errorf("kafka: %w", err)
	}
	return len(records), nil
}

// check makes the records of a plan, if it still fits.
func (a *Auditor) check(ctx context.Context, s *store, p *Plan) ([]*kgo.Record, error) {
	e := a.planner(s)
	records := make([]*kgo.Record, 0, len(p.Send))
	planned := map[reference]bool{}
	for _, item := range p.Send {
		now, r, err := e.resend(ctx, item.Shard, item.Entry)
		var cannot cannotSendError
		if errors.As(err, &cannot) {
			return nil, fmt.Errorf("%w: %w", ErrPlanStale, err)
		} else if err != nil {
			return nil, err
		}
		if now != item {
			return nil, fmt.Errorf("%w: shard %d: entry %s, its topic or its partition is another one", ErrPlanStale, item.Shard, item.Entry)
		}
		if planned[reference{item.Shard, item.Entry}] {
			return nil, fmt.Errorf("%w: shard %d: entry %s stands in it twice", ErrPlanStale, item.Shard, item.Entry)
		}
		planned[reference{item.Shard, item.Entry}] = true
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerRepair, Value: fmt.Appendf(nil, "%d", p.Run)})
		records = append(records, r)
	}
	if err := e.addTopics(ctx, []string{e.deadLetter}, e.watch); err != nil {
		return nil, err
	}
	if err := e.decided(ctx); err != nil {
		return nil, err
	}
	for _, part := range e.partitions {
		err := e.logs.read(ctx, part.topic.name, part.number, part.start, part.end, func(r *kgo.Record) error {
			if ref, ours, err := e.reference(part, r); ours && err == nil && planned[ref] {
				return fmt.Errorf("%w: shard %d: entry %s has a record by now, at %s/%d/%d", ErrPlanStale, ref.shard, ref.id, r.Topic, r.Partition, r.Offset)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return records, nil
}

// mostOpen is how long a repair waits for transactions of others. A relay's lasts 10 s at most, unless it is told otherwise.
const mostOpen = 20 * time.Second

// decided waits until all transactions have ended that were open when the topics were looked at: the record of an earlier repair of the same
// plan may stand behind their beginning, committed and out of sight, and would be sent again.
func (e *engine) decided(ctx context.Context) error {
	for began := e.now(); ; {
		ends, err := e.logs.bounds(ctx, e.readable())
		if err != nil {
			return err
		}
		open := ""
		for _, p := range e.partitions {
			if b := ends[p.topic.name]; int(p.number) < len(b) {
				p.end = max(p.end, b[p.number].end)
			}
			if p.end < p.high {
				open = fmt.Sprintf("topic %s, partition %d: a transaction is open since offset %d", p.topic.name, p.number, p.end)
			}
		}
		if open == "" {
			return nil
		}
		if e.now().Sub(began) > mostOpen {
			return fmt.Errorf("%s: whether an entry has come cannot be seen, and nothing was sent; try again when it has ended", open)
		}
		if err := e.wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// planner is an engine that only knows what an entry should become.
func (a *Auditor) planner(s *store) *engine {
	return &engine{
		settings: a.settings(), streams: &redisStreams{primary: a.cfg.Redis, outbox: a.cfg.Outbox}, logs: s.logs,
		wait: sleep, now: time.Now, state: &State{}, report: newReport(a.cfg.Outbox, 0), topics: map[string]*knownTopic{},
	}
}

// cannotSendError says why an entry cannot be sent again.
type cannotSendError struct{ why string }

func (c cannotSendError) Error() string { return c.why }

// resend makes the record of one entry.
func (e *engine) resend(ctx context.Context, shard int, id EntryID) (PlanItem, *kgo.Record, error) {
	item := PlanItem{Shard: shard, Entry: id}
	cannot := func(why string) (PlanItem, *kgo.Record, error) {
		return item, nil, cannotSendError{fmt.Sprintf("shard %d, entry %s: %s", shard, id, why)}
	}
	route, err := newRoute(e.route)
	if err != nil {
		return item, nil, err
	}
	var record *kgo.Record
	why := "it is no longer in Redis"
	err = e.streams.read(ctx, shard, id.before(), id, func(raw rawEntry) error {
		var en entry
		en.decode(raw)
		sh := e.shape()
		im := image{shard: shard}
		dead, k, err := e.want(ctx, &sh, route, map[string]*knownTopic{}, &im, &en)
		switch {
		case err != nil:
			return err
		case dead != "":
			why = dead
			return nil
		case k.problem != "":
			why = "topic " + k.name + ": " + k.problem
			return nil
		}
		why = ""
		item.ID, item.Topic, item.Partition, item.Hash = string(en.eventID), im.topic, im.partition, anchorOf(raw)
		record = e.recordOf(&sh, &im, &en)
		return nil
	})
	if err != nil {
		return item, nil, err
	}
	if why != "" {
		return cannot(why)
	}
	return item, record, nil
}

// recordOf is the record that im is the image of, in memory of its own.
func (e *engine) recordOf(sh *shape, im *image, en *entry) *kgo.Record {
	r := &kgo.Record{Topic: im.topic, Partition: im.partition, Key: slices.Clone(im.key), Timestamp: time.Now()}
	if at := time.UnixMilli(int64(min(en.timeMS, 1<<62))); at.Before(r.Timestamp) {
		r.Timestamp = at
	}
	if !im.null {
		value := im.value
		if sh.format == CloudEventsStructured {
			value = sh.json(en)
		}
		r.Value = append([]byte{}, value...) // not nil, which is a tombstone
	}
	for _, h := range im.headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: strings.Clone(h.name), Value: slices.Clone(h.value)})
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerEntry, Value: fmt.Appendf(nil, "%s/%d/%s", e.outbox, im.shard, im.id)})
	return r
}

// json is the event in the CloudEvents JSON format.
func (s *shape) json(e *entry) []byte {
	members := map[string]any{
		"specversion": "1.0", "id": string(e.eventID), "source": string(s.source), "type": string(e.eventType), "subject": string(e.aggregateID),
		"time": string(eventTime(e.timeMS)), "aggregatetype": string(e.aggregateType),
	}
	if len(e.contentType) > 0 {
		members["datacontenttype"] = string(e.contentType)
	}
	if len(e.payload) > 0 {
		switch d := structuredData(string(e.contentType), e.payload); d.name {
		case dataJSON:
			members["data"] = json.RawMessage(d.value)
		default:
			members["data_base64"] = base64.StdEncoding.EncodeToString([]byte(d.value))
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		panic("consistency: cannot encode a CloudEvent: " + err.Error()) // strings, and JSON that was found valid
	}
	return text
}
