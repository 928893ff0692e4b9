package preflight

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestRunAuditSettings(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name string
		set  []string
		want string // name of the finding; "" for none
	}{
		{"nobody audits", nil, ""},
		{"often enough", []string{"audit.schedule=*/15 * * * *"}, ""},
		{"after audits that nobody makes", []string{"relay.trim.after_audit=true"}, "audit.schedule"},
		{"after audits", []string{"relay.trim.after_audit=true", "audit.schedule=0 5 * * *"}, ""},
		{"trimmed between audits", []string{"audit.schedule=@hourly"}, "audit.schedule"},
		{"never trimmed", []string{
			"audit.schedule=@hourly", "relay.trim.keep=off",
			"relay.trim.after_audit=true",
		}, "relay.trim.after_audit"},
		{"longer than the schedule", []string{"audit.schedule=@every 30s"}, "audit.settle"},
	} {
		c := &checker{cfg: load(t, append([]string{"kafka.brokers=h:1", "redis.url=redis://h"},
			x.set...)...)}
		c.checkAuditSettings(c.area("configuration"))
		if x.want == "" && len(c.all) > 0 || len(c.all) > 1 {
			t.Errorf("%s: %+v", x.name, c.all)
		}
		if x.want != "" {
			wants(t, c.all, Warn, "configuration", x.want, "")
		}
	}
}

// A topic of audits that loses what it holds, or cannot be made, fails the check only where audits
// are asked for.
func TestRunAuditsTopic(t *testing.T) {
	t.Parallel()
	for set, level := range map[string]Level{
		"audit.schedule=*/5 * * * *": Fail,
		"audit.rate=0":               Warn,
	} {
		s := newStage(t, set).migrate(t)
		s.kafka.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
			s.kafka.KeepControl()
			resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
			for _, topic := range req.(*kmsg.CreateTopicsRequest).Topics {
				answer := kmsg.NewCreateTopicsResponseTopic()
				answer.Topic, answer.ErrorCode = topic.Topic, 29 // TOPIC_AUTHORIZATION_FAILED
				resp.Topics = append(resp.Topics, answer)
			}
			return resp, nil, req.(*kmsg.CreateTopicsRequest).ValidateOnly
		})
		wants(t, s.run(t), level, "audit", names.AuditsTopic("orders"), "an audit cannot create it")
		if _, err := kadm.NewClient(s.Kafka).CreateTopic(t.Context(), 2, 1, nil,
			names.AuditsTopic("orders")); err != nil {
			t.Fatal(err)
		}
		all := s.run(t)
		wants(t, all, level, "audit", names.AuditsTopic("orders"), "cleanup.policy is delete")
		wants(t, all, Warn, "audit", names.AuditsTopic("orders"), "2 partitions")
	}
}

func TestRunReplica(t *testing.T) {
	t.Parallel()
	replica := miniredis.RunT(t)
	s := newStage(t, "audit.replica=redis://u:secret@"+replica.Addr(),
		"audit.schedule=@hourly").migrate(t)
	wants(t, s.run(t), Fail, "audit", "replica", "redis://u:redacted@") // it refuses the password
	replica.RequireUserAuth("u", "secret")
	wants(t, s.run(t), Fail, "audit", "replica", "does not have the stream")
	if _, err := replica.XAdd(outbox.StreamKey("orders", 0), "*", []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	answer := ""
	replica.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd == "INFO" && answer != "" {
			c.WriteBulk(answer)
			return true
		}
		return false
	})
	for text, want := range map[string]struct {
		level  Level
		detail string
	}{
		"":                {Warn, "is not told"},
		"role:master\r\n": {Warn, "it is a master"},
		"role:slave\r\nmaster_link_status:down\r\n": {Fail, "link to the master is down"},
		"role:slave\r\nmaster_link_status:up\r\n":   {OK, "follows its master"},
	} {
		answer = text
		wants(t, s.run(t), want.level, "audit", "replica", want.detail)
	}
	replica.Close()
	wants(t, s.run(t), Fail, "audit", "replica", "does not answer")
}
