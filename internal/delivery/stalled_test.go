package delivery

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A partition without answers sends its own shard into a lane of its own; the others go on without
// it, whether they were in its transaction or have waited for that, and it comes back when it is
// well.
func TestStalledPartition(t *testing.T) {
	t.Parallel()
	for name, together := range map[string]bool{
		"with others in its transaction": true,
		"alone in its transaction":       false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 4, func(t *testing.T, l *lab) { stalledPartition(t, l, together) })
		})
	}
}

func stalledPartition(t *testing.T, l *lab, together bool) {
	l.topic("events", 1)
	l.topic("stalled", 1)
	var flows []*flow
	for shard := range 4 {
		f := newFlow(shard)
		f.add(5, place{"events", 0})
		flows = append(flows, f)
	}
	e, end := l.engine(func(c *Config) { c.Linger = 50 * time.Millisecond })
	defer end()
	l.run(e, flows...)
	l.delivered(flows...)
	stall := l.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: "stalled",
		Err: kerr.NotLeaderForPartition, Count: -1,
	})
	flows[0].add(5, place{"stalled", 0})
	if !together {
		time.Sleep(60 * time.Millisecond) // past the linger
	}
	others := flows[1:]
	began := time.Now()
	for range 10 {
		for _, f := range others {
			f.add(1, place{"events", 0})
		}
		l.delivered(others...)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the others were held up for %s", took)
	}
	time.Sleep(10 * time.Second)
	before := len(l.transactions())
	began = time.Now()
	for range 20 {
		for _, f := range others {
			f.add(1, place{"events", 0})
		}
		l.delivered(others...)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the others were held up for %s once the shard had a lane of its own", took)
	}
	for _, x := range l.transactions()[before:] {
		if x.Lane == flows[0].inLanes()[len(flows[0].inLanes())-1] {
			t.Error("the others are in its lane")
		}
	}
	if flows[0].seen().committed != 5 || flows[0].seen().state != Waiting ||
		!strings.Contains(flows[0].seen().reason, "stalled") {
		t.Errorf("the shard is %s: %s", flows[0].seen().state, flows[0].seen().reason)
	}
	for _, f := range others {
		for _, told := range f.told() {
			if strings.Contains(told, "stalled") || strings.Contains(told, "waiting") {
				t.Errorf("shard %d told %q", f.shard, told)
			}
		}
	}
	stall.Remove()
	l.delivered(flows[0])
	l.until("it is back among the others", func() bool {
		lanes := flows[0].inLanes()
		return lanes[len(lanes)-1] == others[0].inLanes()[len(others[0].inLanes())-1]
	})
	flows[0].add(5, place{"stalled", 0})
	l.delivered(flows[0])
	end()
	l.check(flows...)
}
