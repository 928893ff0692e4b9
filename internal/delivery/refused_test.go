package delivery

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Records that Kafka refuses for what they are come back to their source, all of them, and hold
// nobody up.
func TestRefusedRecords(t *testing.T) {
	t.Parallel()
	for name, named := range map[string]bool{"named by the broker": true, "not named": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 3, func(t *testing.T, l *lab) {
				l.topic("events", 3)
				bad := map[string]bool{"0/3": true, "0/4": true, "0/17": true, "1/30": true}
				l.refuse("events", func(key string) bool { return bad[key] }, named)
				var flows []*flow
				for shard := range 3 {
					f := newFlow(shard)
					for i := range 40 {
						at := place{"events", int32(i % 2)}
						if shard == 2 {
							at.partition = 2 // Kafka refuses by the batch, whoever has records in it
						}
						f.add(1, at)
					}
					flows = append(flows, f)
				}
				e, end := l.engine()
				defer end()
				l.run(e, flows...)
				l.delivered(flows...)
				for i, want := range [][]int{{3, 4, 17}, {30}, {}} {
					if got := flows[i].refusals(); !slices.Equal(got, want) {
						t.Errorf("shard %d: %v were refused, want %v", i, got, want)
					}
				}
				for n, err := range flows[0].seen().refused {
					if !errors.Is(err, kerr.InvalidRecord) {
						t.Errorf("entry %d: %v", n, err)
					}
				}
				if n := len(l.all(letters)); n != 4 {
					t.Errorf("%d letters", n)
				}
				for _, told := range flows[2].told() {
					if strings.Contains(told, "refuse") {
						t.Errorf("shard 2, of which nothing was refused, told %q", told)
					}
				}
				// They come back among the others.
				l.until("all are in one lane", func() bool {
					var lanes []string
					for _, f := range flows {
						lanes = append(lanes, f.inLanes()[len(f.inLanes())-1])
					}
					return lanes[0] == lanes[1] && lanes[1] == lanes[2]
				})
				end()
				l.check(flows...)
			})
		})
	}
}

// refuse has the broker refuse batches for a topic that have a bad record, as KIP-467 says it, with
// or without naming them.
func (l *lab) refuse(topic string, bad func(key string) bool, named bool) {
	ids := func() [16]byte { return l.cluster.TopicInfo(topic).TopicID }()
	l.on(kmsg.Produce, func(r kmsg.Request) kmsg.Response {
		req := r.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		refused := false
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.OperationNotAttempted.Code
				if rt.Topic == topic || rt.TopicID == ids {
					for i, key := range keysOf(l.t, rp.Records) {
						if !bad(key) {
							continue
						}
						refused = true
						sp.ErrorCode = kerr.InvalidRecord.Code
						if named {
							e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
							e.RelativeOffset = int32(i)
							sp.ErrorRecords = append(sp.ErrorRecords, e)
						}
					}
				}
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		if !refused {
			return nil
		}
		return resp
	})
}
