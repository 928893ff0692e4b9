package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lab is an in-memory Kafka of three brokers, inside a bubble of testing/synctest.
type lab struct {
	t       *testing.T
	cluster *kfake.Cluster
	opts    []kgo.Opt
	client  *kgo.Client
}

func inLab(t *testing.T, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.Ports(19092, 19093, 19094),
			kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		l := &lab{t: t, cluster: cluster}
		l.opts = []kgo.Opt{
			kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(network.DialContext),
			kgo.MetadataMinAge(10 * time.Millisecond), kgo.DisableClientMetrics(),
		}
		if l.client, err = kgo.NewClient(l.opts...); err != nil {
			t.Fatal(err)
		}
		defer l.client.Close()
		f(t, l)
	})
}

// says is what one broker says of a topic.
type says struct {
	code       int16
	id         byte
	partitions []Partition
	silent     bool
}

// brokers has each broker answer metadata by itself; the first question, which goes to any of them,
// has the answer of broker 0.
func (l *lab) brokers(of map[string][3]says) {
	first := true
	l.cluster.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		if len(req.Topics) == 0 {
			return nil, nil, false // the client's own
		}
		node := l.cluster.CurrentNode()
		if first {
			node, first = 0, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		for i := range int32(3) {
			b := kmsg.NewMetadataResponseBroker()
			b.NodeID, b.Host, b.Port = i, "127.0.0.1", 19092+i
			resp.Brokers = append(resp.Brokers, b)
		}
		for _, asked := range req.Topics {
			x := of[*asked.Topic][node]
			if x.silent {
				return nil, errors.New("cut"), true
			}
			t := kmsg.NewMetadataResponseTopic()
			t.Topic, t.ErrorCode, t.TopicID = asked.Topic, x.code, [16]byte{x.id}
			for n, p := range x.partitions {
				mp := kmsg.NewMetadataResponseTopicPartition()
				mp.Partition, mp.Leader, mp.LeaderEpoch, mp.Replicas = int32(n), p.Leader, p.Epoch, p.Replicas
				if p.Leader < 0 {
					mp.ErrorCode = kerr.LeaderNotAvailable.Code
				}
				t.Partitions = append(t.Partitions, mp)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
}

func TestLeaders(t *testing.T) {
	t.Parallel()
	all := []int32{0, 1, 2}
	led := func(leader, epoch int32, replicas ...int32) says {
		return says{id: 1, partitions: []Partition{{Leader: leader, Epoch: epoch, Replicas: replicas}}}
	}
	unknown := says{code: kerr.UnknownTopicOrPartition.Code}
	silent, denied := says{silent: true}, says{code: kerr.TopicAuthorizationFailed.Code}
	for name, c := range map[string]struct {
		says    [3]says
		leader  int32
		epoch   int32
		missing bool
		err     string // of the question
		uncert  string // of the partition
	}{
		"all agree": {[3]says{
			led(1, 4, all...), led(1, 4, all...),
			led(1, 4, all...),
		}, 1, 4, false, "", ""},
		"one was deposed and has not heard": {[3]says{
			led(1, 4, all...), led(0, 3, all...),
			led(1, 4, all...),
		}, 1, 4, false, "", ""},
		"two have not heard": {[3]says{
			led(0, 3, all...), led(1, 4, all...),
			led(0, 3, all...),
		}, 1, 4, false, "", ""},
		"the newest has no leader": {[3]says{
			led(0, 3, all...), led(-1, 4, all...),
			led(0, 3, all...),
		}, -1, 4, false, "", "LEADER_NOT_AVAILABLE"},
		"a lagging one does not know it": {
			[3]says{led(1, 4, all...), unknown, led(1, 4, all...)},
			1,
			4, false, "", "",
		},
		"only the last one knows it": {
			[3]says{unknown, unknown, led(2, 0, all...)},
			2, 0, false,
			"", "",
		},
		"nobody knows it":             {[3]says{unknown, unknown, unknown}, 0, 0, true, "", ""},
		"nobody who answers knows it": {[3]says{unknown, unknown, silent}, 0, 0, true, "", ""},
		"too few answer to know that": {
			[3]says{unknown, silent, silent},
			0, 0, false,
			"1 of 3 brokers answer", "",
		},
		"one is silent": {
			[3]says{led(1, 4, all...), silent, led(1, 4, all...)},
			1,
			4, false, "", "",
		},
		"two are silent": {
			[3]says{led(1, 4, all...), silent, silent},
			1, 4, false,
			"", "1 of 3 replicas answer, 2 are needed",
		},
		"replicas are silent, others answer": {
			[3]says{led(1, 4, 1, 2), silent, silent},
			1, 4, false, "",
			"0 of 2 replicas answer, 1 are needed",
		},
		"half of two replicas": {
			[3]says{led(1, 4, 1, 2), led(1, 4, 1, 2), silent},
			1, 4,
			false, "", "",
		},
		"one replica that answers": {
			[3]says{led(1, 4, 1), led(1, 4, 1), silent},
			1, 4, false,
			"", "",
		},
		"one replica that does not": {
			[3]says{led(1, 4, 2), led(1, 4, 2), silent},
			1, 4, false,
			"", "0 of 1 replicas",
		},
		"deleted and created again": {
			[3]says{
				led(1, 4, all...),
				{id: 2, partitions: []Partition{{Leader: 0, Epoch: 0, Replicas: all}}},
				led(1, 4, all...),
			},
			0, 0,
			false, "created again", "",
		},
		"must not be seen": {
			[3]says{denied, denied, denied},
			0, 0, false, "",
			"TOPIC_AUTHORIZATION_FAILED",
		},
		"one broker knows of a permission": {
			[3]says{denied, led(1, 4, all...), led(1, 4, all...)},
			1,
			4, false, "", "",
		},
		"one broker knows of none": {
			[3]says{led(1, 4, all...), led(1, 4, all...), denied},
			1,
			4, false, "", "",
		},
		"a name that brokers refuse": {[3]says{
			{code: kerr.InvalidTopicException.Code},
			led(1, 4, all...), led(1, 4, all...),
		}, 0, 0, false, "INVALID_TOPIC", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, func(t *testing.T, l *lab) {
				if err := l.client.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
				l.brokers(map[string][3]says{"topic": c.says})
				found, err := Leaders(t.Context(), l.client, "topic")
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Errorf("got %v, %v, want an error with %q", found, err, c.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				topic := found["topic"]
				if (topic == nil) != c.missing {
					t.Fatalf("found %+v", topic)
				}
				if c.missing {
					if _, err := Open(l.client, topic, 0, kgo.ReadCommitted()); !errors.Is(err, ErrNoTopic) {
						t.Errorf("Open gives %v", err)
					}
					return
				}
				if topic.Err != nil {
					if _, err := Open(l.client, topic, 0,
						kgo.ReadCommitted()); !strings.Contains(topic.Err.Error(), c.uncert) || c.uncert == "" ||
						!errors.Is(err, topic.Err) {
						t.Errorf("nothing is known because of %v; Open gives %v", topic.Err, err)
					}
					return
				}
				p := topic.Partitions[0]
				if topic.Name != "topic" || len(topic.Partitions) != 1 || p.Leader != c.leader ||
					p.Epoch != c.epoch {
					t.Errorf("found %+v", topic)
				}
				log, err := Open(l.client, topic, 0, kgo.ReadCommitted())
				if c.uncert == "" {
					if p.Err != nil || err != nil || log.Leader() != c.leader {
						t.Errorf("not certain: %v; Open gives %v", p.Err, err)
					}
				} else if p.Err == nil || !strings.Contains(p.Err.Error(), c.uncert) || !errors.Is(err, p.Err) {
					t.Errorf("got %v, want an error with %q; Open gives %v", p.Err, c.uncert, err)
				}
			})
		})
	}
}

// Partitions that a lagging broker does not know yet are known from another one. Partitions that no
// broker reports have no leader.
func TestLeadersOfGrowingTopic(t *testing.T) {
	t.Parallel()
	p := func(leader, epoch int32) Partition {
		return Partition{Leader: leader, Epoch: epoch, Replicas: []int32{0, 1, 2}}
	}
	inLab(t, func(t *testing.T, l *lab) {
		l.brokers(map[string][3]says{
			"growing": {
				{id: 1, partitions: []Partition{p(0, 2)}},
				{id: 1, partitions: []Partition{p(0, 2), p(1, 0), p(2, 0)}},
				{id: 1, partitions: []Partition{p(1, 3), p(1, 0)}},
			},
			"other": {
				{id: 2, partitions: []Partition{p(2, 0)}},
				{code: kerr.UnknownTopicOrPartition.Code},
				{id: 2, partitions: []Partition{p(2, 0)}},
			},
		})
		found, err := Leaders(t.Context(), l.client, "growing", "other")
		if err != nil || len(found) != 2 || len(found["growing"].Partitions) != 3 ||
			len(found["other"].Partitions) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		for i, leader := range []int32{1, 1, 2} {
			if got := found["growing"].Partitions[i]; got.Leader != leader || got.Err != nil {
				t.Errorf("partition %d: %+v", i, got)
			}
		}
		if _, err := Open(l.client, found["other"], 1, kgo.ReadCommitted()); err == nil ||
			!strings.Contains(err.Error(), "1 partitions") {
			t.Errorf("Open of a partition that is not there: %v", err)
		}
	})
}

func TestLeadersWithoutBrokers(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Leaders(cancelled, l.client, "topic"); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		l.cluster.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := Leaders(ctx, l.client, "topic"); err == nil {
			t.Error("found without brokers")
		}
	})
}

// One broker that does not answer bounds the question, and has no say.
func TestLeadersDoesNotWaitForASilentBroker(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 3, nil); err != nil {
			t.Fatal(err)
		}
		wake := make(chan struct{})
		defer close(wake)
		l.cluster.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			if l.cluster.CurrentNode() == 2 {
				l.cluster.SleepControl(func() { <-wake })
			}
			return nil, nil, false
		})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var last error
		for time.Since(began) < time.Minute { // the first question may go to any broker
			var found map[string]*Topic
			if found, last = Leaders(ctx, l.client, "topic"); last != nil {
				continue
			}
			for i, p := range found["topic"].Partitions {
				if p.Err != nil && len(p.Replicas) > 1 {
					t.Errorf("partition %d: %v", i, p.Err)
				}
			}
			break
		}
		if last != nil {
			t.Error(last)
		}
	})
}

// merge and judge against the dumb way, whatever the brokers say and in whatever order they are
// heard.
func TestMergeTakesTheHighestEpoch(t *testing.T) {
	t.Parallel()
	name := "topic"
	topic := func(leader, epoch int32) *kmsg.MetadataResponseTopic {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader, p.LeaderEpoch, p.Replicas = leader, epoch, []int32{0, 1, 2}
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.Partitions = &name, []kmsg.MetadataResponseTopicPartition{p}
		return &t
	}
	for _, order := range [][]int32{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 2, 1}} {
		found := map[string]*Topic{}
		for _, epoch := range order {
			if err := merge(found, topic(10+epoch, epoch)); err != nil {
				t.Fatal(err)
			}
		}
		if p := found[name].Partitions[0]; p.Leader != 12 || p.Epoch != 2 {
			t.Errorf("heard in the order %v: %+v", order, p)
		}
	}
	for replicas := 1; replicas <= 5; replicas++ {
		for answered := 0; answered <= replicas; answered++ {
			p := Partition{Leader: 1}
			answers := map[int32]*kmsg.MetadataResponse{100: {}}
			for i := range int32(replicas) {
				p.Replicas = append(p.Replicas, i)
				if int(i) < answered {
					answers[i] = &kmsg.MetadataResponse{}
				}
			}
			p.judge(answers)
			if want := 2*answered < replicas; (p.Err != nil) != want {
				t.Errorf("%s: %v", fmt.Sprint(answered, " of ", replicas, " replicas"), p.Err)
			}
		}
	}
}
