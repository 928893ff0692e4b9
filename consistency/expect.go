package consistency

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// expecter says what should be in Kafka of an entry: it decodes the entry, finds its topic and its
// partition, and forms its record. It belongs to one goroutine, and what it gives is valid until it
// is given the next entry.
type expecter struct {
	shape  shape
	hasher hasher
	route  *route
	topics *catalog
	known  map[string]*knownTopic // a part of the catalog that needs no lock
	entry  entry
	image  image
}

// expected is what should be in Kafka of an entry.
type expected struct {
	// dead says why the entry belongs to the dead letters, if it does; there is no topic then.
	dead  string
	topic *knownTopic
}

// comparable reports whether a digest can tell that the record is there.
func (e expected) comparable() bool { return e.dead == "" && e.topic.problem == "" }

func (c *collector) expecter(shard int) (*expecter, error) {
	route, err := newRoute(c.route)
	if err != nil {
		return nil, err
	}
	return &expecter{
		shape: c.shape(), hasher: hasher{key: c.key}, route: route,
		topics: c.topics, known: map[string]*knownTopic{}, image: image{shard: shard},
	}, nil
}

func (s settings) shape() shape {
	return shape{format: s.format, source: []byte(s.source), tombstones: s.tombstones}
}

// expect fills the expecter's entry and image.
func (x *expecter) expect(ctx context.Context, raw rawEntry) (expected, error) {
	x.entry.decode(raw)
	if x.entry.bad != "" {
		return expected{dead: "the entry is not an event: " + x.entry.bad}, nil
	}
	name, ok := x.route.topic(&x.entry)
	if !ok {
		return expected{dead: "the entry has no valid topic"}, nil
	}
	k, err := x.topic(ctx, name)
	if err != nil {
		return expected{}, err
	}
	x.shape.expect(&x.image, &x.entry)
	x.image.topic, x.image.partition = name, 0
	if k.problem == "" {
		x.image.partition = int32(outbox.Partition(x.image.key, k.partitions))
	}
	return expected{topic: k}, nil
}

func (x *expecter) topic(ctx context.Context, name string) (*knownTopic, error) {
	if k := x.known[name]; k != nil {
		return k, nil
	}
	k, err := x.topics.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(x.known) >= routeMemory {
		clear(x.known)
	}
	x.known[name] = k
	return k, nil
}

// hash is that of the image.
func (x *expecter) hash() hash128 { return x.hasher.sum(&x.image) }

// wanted is what compareEntries needs of the entry, in memory of its own.
func (x *expecter) wanted(e expected) wanted {
	w := wanted{id: x.entry.id, eventID: string(x.entry.eventID), dead: e.dead}
	if e.dead != "" {
		return w
	}
	w.topic, w.partition, w.hash, w.traits = x.image.topic, x.image.partition, x.hash(),
		x.image.traits()
	if e.topic.problem != "" {
		w.problem = fmt.Sprintf("topic %s: %s", e.topic.name, e.topic.problem)
	}
	return w
}

// observer says what a record is. It belongs to one goroutine.
type observer struct {
	shape  shape
	hasher hasher
	image  image
}

func (c *collector) observer() *observer {
	return &observer{shape: c.shape(), hasher: hasher{key: c.key}}
}

// observe gives the hash of a record. repaired: a repair has sent it.
func (o *observer) observe(r *kgo.Record, ref reference) (sum hash128, repaired bool) {
	repaired = o.shape.observe(&o.image, r, ref.shard, ref.id)
	return o.hasher.sum(&o.image), repaired
}

// found is a record with the evidence that a finding needs, in memory of its own.
func (o *observer) found(p *partition, r *kgo.Record, ref reference) found {
	f := found{
		id: ref.id, topic: p.topic.name, partition: p.number, offset: r.Offset, dead: p.topic.dead,
		producer: r.ProducerID, epoch: r.ProducerEpoch,
	}
	if !f.dead {
		f.hash, f.repaired = o.observe(r, ref)
		f.traits = o.image.traits()
	}
	return f
}
