package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (l *testEnv) topics(policy Topics) *topics {
	return newTopics(l.kafka, policy, func() int { return l.shards }, slog.New(slog.DiscardHandler))
}

func TestTopicsLimits(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		for topic, limit := range map[string]string{"small": "2000", "large": "104857600", "usual": ""} {
			configs := map[string]string{"max.message.bytes": limit}
			if limit == "" {
				configs = nil
			}
			if err := l.cluster.CreateTopic(topic, 1, configs); err != nil {
				t.Fatal(err)
			}
		}
		topics := l.topics(Topics{})
		for topic, want := range map[string][2]int{
			"small": {2000, 2000}, "large": {104857600, 64 << 20},
			"usual": {defaultMaxMessageBytes, defaultMaxMessageBytes},
		} {
			if got := topics.limit(topic); got != 1_000_012 {
				t.Errorf("%s: %d before it was looked at", topic, got)
			}
			if got, err := topics.info(t.Context(), topic); err != nil || got.maxBytes != want[0] ||
				got.partitions != 1 {
				t.Errorf("%s: %+v, %v", topic, got, err)
			}
			if got := topics.limit(topic); int(got) != want[1] {
				t.Errorf("%s: batches of %d bytes, want %d", topic, got, want[1])
			}
		}
	})
}

func TestTopicsUnknown(t *testing.T) {
	t.Parallel()
	for _, policy := range []UnknownTopicPolicy{
		UnknownTopicCreate, UnknownTopicDeadLetter,
		UnknownTopicHalt,
	} {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 3, func(t *testing.T, l *testEnv) {
				topics := l.topics(Topics{OnUnknown: policy})
				got, err := topics.info(t.Context(), "new")
				if policy == UnknownTopicCreate {
					if err != nil || got.maxBytes != defaultMaxMessageBytes || got.partitions != 3 ||
						len(l.cluster.PartitionInfos("new")) != 3 {
						t.Errorf("got %+v, %v; %d partitions, want as many as shards", got, err,
							len(l.cluster.PartitionInfos("new")))
					}
					return
				}
				if !errors.Is(err, errNoTopic) || l.cluster.TopicInfo("new") != nil {
					t.Errorf("got %+v, %v", got, err)
				}
				if err := l.cluster.CreateTopic("new", 1, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := topics.info(t.Context(), "new"); !errors.Is(err, errNoTopic) {
					t.Errorf("the answer was not remembered: %v", err)
				}
				time.Sleep(absentTTL + time.Millisecond)
				if got, err := topics.info(t.Context(), "new"); err != nil ||
					got.maxBytes != defaultMaxMessageBytes {
					t.Errorf("once it exists: %+v, %v", got, err)
				}
			})
		})
	}
}

func TestTopicsCreation(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 3, func(t *testing.T, l *testEnv) {
		var mu sync.Mutex
		var asked []string
		l.cluster.ControlKey(int16(kmsg.CreateTopics),
			func(req kmsg.Request) (kmsg.Response, error, bool) {
				l.cluster.KeepControl()
				mu.Lock()
				defer mu.Unlock()
				topic := req.(*kmsg.CreateTopicsRequest).Topics[0]
				asked = append(asked, fmt.Sprint(topic.Topic, " ", topic.NumPartitions, " ",
					topic.ReplicationFactor))
				return nil, nil, false
			})
		for topic, policy := range map[string]Topics{
			"a": {},
			"b": {Partitions: 12, ReplicationFactor: 1},
		} {
			if _, err := l.topics(policy).info(t.Context(), topic); err != nil {
				t.Error(err)
			}
		}
		// Two shards, or two relays, at once.
		one, other := l.topics(Topics{}), l.topics(Topics{})
		var wg sync.WaitGroup
		for range 4 {
			for _, which := range []*topics{one, other} {
				wg.Go(func() {
					if _, err := which.info(t.Context(), "c"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if got := strings.Join(asked, ","); !strings.Contains(got, "a 3 -1") ||
			!strings.Contains(got, "b 12 1") {
			t.Errorf("asked for %s", got)
		}
		l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.CreateTopics}, Topic: "d",
			Err: kerr.TopicAuthorizationFailed, Count: -1,
		})
		if _, err := l.topics(Topics{}).info(t.Context(), "d"); !errors.Is(err,
			kerr.TopicAuthorizationFailed) || errors.Is(err, errNoTopic) {
			t.Errorf("not allowed to create: %v", err)
		}
	})
}

func TestTopicsErrors(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		if err := l.cluster.CreateTopic("events", 1,
			map[string]string{"max.message.bytes": "5000"}); err != nil {
			t.Fatal(err)
		}
		topics := l.topics(Topics{})
		denied := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.DescribeConfigs},
			Err:  kerr.TopicAuthorizationFailed, Count: -1,
		})
		if got, err := topics.info(t.Context(), "events"); err != nil ||
			got.maxBytes != defaultMaxMessageBytes {
			t.Errorf("where the configuration may not be read: %+v, %v", got, err)
		}
		denied.Remove()
		topics.forget("events")
		if got, err := topics.info(t.Context(), "events"); err != nil || got.maxBytes != 5000 {
			t.Errorf("asked again: %+v, %v", got, err)
		}
		topics.forget("events")
		topics.forget("never heard of")
		hidden := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Metadata}, Topic: "events",
			Err: kerr.TopicAuthorizationFailed, Count: -1,
		})
		if _, err := topics.info(t.Context(), "events"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("where the topic may not be seen: %v", err)
		}
		hidden.Remove()
		l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Metadata}, Topic: "bad",
			Err: kerr.InvalidTopicException, Count: -1,
		})
		if _, err := topics.info(t.Context(), "bad"); !errors.Is(err, errBadTopic) {
			t.Errorf("a name that the broker refuses: %v", err)
		}
		if n := topics.limit("events"); n != 5000 {
			t.Errorf("what was known is lost: %d", n)
		}
	})
}

// faults.md: a topic that is deleted and created again, or given partitions, is noticed.
func TestTopicsChanged(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*testing.T, *testEnv){
		"created again": func(t *testing.T, l *testEnv) {
			if err := l.cluster.DeleteTopic("events"); err != nil {
				t.Fatal(err)
			}
			if err := l.cluster.CreateTopic("events", 2, nil); err != nil {
				t.Fatal(err)
			}
		},
		"given partitions": func(t *testing.T, l *testEnv) {
			if _, err := l.admin().CreatePartitions(t.Context(), 3, "events"); err != nil {
				t.Fatal(err)
			}
		},
		"nothing": func(*testing.T, *testEnv) {},
	}
	for name, change := range changes {
		for _, policy := range []TopicChangePolicy{TopicChangeHalt, TopicChangeContinue} {
			t.Run(name+", "+policy.String(), func(t *testing.T) {
				t.Parallel()
				inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
					if err := l.cluster.CreateTopic("events", 2, nil); err != nil {
						t.Fatal(err)
					}
					topics := l.topics(Topics{OnChanged: policy})
					if _, err := topics.info(t.Context(), "events"); err != nil {
						t.Fatal(err)
					}
					change(t, l)
					if _, err := topics.info(t.Context(), "events"); err != nil {
						t.Errorf("within the minute: %v", err)
					}
					time.Sleep(topicTTL + time.Millisecond)
					for range 2 { // it stays changed
						_, err := topics.info(t.Context(), "events")
						var changed *topicChangeError
						if want := policy == TopicChangeHalt && name != "nothing"; errors.As(err, &changed) != want ||
							!want && err != nil {
							t.Errorf("got %v", err)
						} else if want && !strings.Contains(err.Error(), "Config.Topics.OnChanged") {
							t.Errorf("the error does not name the field: %v", err)
						}
					}
				})
			})
		}
	}
}

func TestTopicsAreBounded(t *testing.T) {
	t.Parallel()
	topics := &topics{known: map[string]topicInfo{}}
	for i := range 2*topicsKnown + 1 {
		topics.remember(fmt.Sprint(i), topicInfo{exists: true})
	}
	if n := len(topics.known); n > topicsKnown {
		t.Errorf("%d topics are remembered", n)
	}
}
