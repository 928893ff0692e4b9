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
)

// Plan says what a repair would do: send entries again that audits have reported as lost, in their
// order, each marked by the header sluice-repair. Nothing is ever deleted from Kafka.
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

// ErrPlanStale says that what a plan rests on has changed since it was made. Nothing was sent;
// audit again and make another plan.
var ErrPlanStale = errors.New("the plan no longer fits")

// Plan makes a plan for all entries that audits have reported as lost and that have not come since.
// It changes nothing.
func (a *Auditor) Plan(ctx context.Context) (*Plan, error) {
	s, err := a.open(nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	known, _, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		V: 1, Outbox: a.cfg.Outbox, Run: known.Run, Made: time.Now().UTC(), Send: []PlanItem{},
		Cannot: []string{},
	}
	c := a.planner(s)
	for shard := range known.Shards {
		for _, id := range known.Shards[shard].Lost {
			item, _, err := c.resend(ctx, shard, id)
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

// planner is a collector that only has to know what an entry should become.
func (a *Auditor) planner(s *store) *collector {
	set := a.settings()
	return &collector{
		settings: set, streams: &redisStreams{primary: a.cfg.Redis, outbox: a.cfg.Outbox}, logs: s.logs,
		wait: sleep, now: time.Now, topics: newCatalog(s.logs, set.deadLetter, 0, nil, false),
	}
}

// cannotSendError says why an entry cannot be sent again.
type cannotSendError struct{ why string }

func (c cannotSendError) Error() string { return c.why }

// resend makes the record of one entry.
func (c *collector) resend(ctx context.Context, shard int,
	id EntryID,
) (PlanItem, *kgo.Record, error) {
	item := PlanItem{Shard: shard, Entry: id}
	x, err := c.expecter(shard)
	if err != nil {
		return item, nil, err
	}
	var record *kgo.Record
	why := "it is no longer in Redis"
	err = c.streams.read(ctx, shard, id.Prev(), id, func(raw rawEntry) error {
		e, err := x.expect(ctx, raw)
		switch {
		case err != nil:
			return err
		case e.dead != "":
			why = e.dead
			return nil
		case e.topic.problem != "":
			why = "topic " + e.topic.name + ": " + e.topic.problem
			return nil
		}
		why = ""
		item.ID, item.Topic, item.Partition, item.Hash = string(x.entry.eventID), x.image.topic,
			x.image.partition, anchorOf(raw)
		record = c.recordOf(x)
		return nil
	})
	if err != nil {
		return item, nil, err
	}
	if why != "" {
		return item, nil, cannotSendError{fmt.Sprintf("shard %d, entry %s: %s", shard, id, why)}
	}
	return item, record, nil
}

// recordOf is the record of the entry that x was given last, in memory of its own.
func (c *collector) recordOf(x *expecter) *kgo.Record {
	sh, im, en := &x.shape, &x.image, &x.entry
	r := &kgo.Record{
		Topic: im.topic, Partition: im.partition, Key: slices.Clone(im.key),
		Timestamp: time.Now(),
	}
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
		r.Headers = append(r.Headers, kgo.RecordHeader{
			Key:   strings.Clone(h.name),
			Value: slices.Clone(h.value),
		})
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{
		Key:   headerEntry,
		Value: fmt.Appendf(nil, "%s/%d/%s", c.outbox, im.shard, im.id),
	})
	return r
}

// json is the event in the CloudEvents JSON format.
func (s *shape) json(e *entry) []byte {
	members := map[string]any{
		"specversion": "1.0", "id": string(e.eventID), "source": string(s.source),
		"type": string(e.eventType), "subject": string(e.aggregateID),
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
		// strings, and JSON that was found valid
		panic("consistency: cannot encode a CloudEvent: " + err.Error())
	}
	return text
}
