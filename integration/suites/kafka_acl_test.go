//go:build integration

package suites_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/relay"
)

// TestLeastPrivilegeOnKafka: a relay with a user of its own. Without permissions it is not ready
// and dead-letters nothing; with those that docs/operations.md lists it delivers, without a
// restart. It may not end what a broker left open, says so, and goes on as soon as it may.
func TestLeastPrivilegeOnKafka(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 5*time.Minute)
	// The test goes to the brokers as a super user; the relay through the other listener, where it has
	// to log in.
	k, err := servers.StartKafka(ctx,
		servers.KafkaOptions{Proxied: true, Properties: map[string]string{
			"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT," +
				"PROXIED:SASL_PLAINTEXT",
			"sasl.enabled.mechanisms": "PLAIN",
			"listener.name.proxied.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain." +
				`PlainLoginModule required user_relay="secret";`,
			"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":           "User:ANONYMOUS",
			// for transactions that the test leaves open
			"transaction.partition.verification.enable": "false",
		}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("servers: %s, %s", integration.Servers(t).Redis.Version, k.Version)
	w := testenv.New(t, testenv.Options{Shards: 1, Kafka: k.Addrs(), RelayKafka: k.ProxiedAddrs()})
	if _, err := kadm.NewClient(w.Kafka).CreateTopic(ctx, 2, 1, nil, w.Topic()); err != nil {
		t.Fatal(err)
	}
	l := leaver{t: t, w: w}
	l.add(50)
	cfg := w.Config()
	cfg.Kafka = append(w.KafkaOpts(),
		kgo.SASL(plain.Auth{User: "relay", Pass: "secret"}.AsMechanism()))

	first := w.Run(cfg)
	w.Await(time.Minute, func(context.Context) error {
		if err := first.Ready(); err == nil || !strings.Contains(err.Error(), "AUTHORIZATION_FAILED") {
			return errors.New("the relay does not say that it is not authorized")
		}
		return nil
	})
	positions, dead := names.PositionsTopic(w.Outbox), names.DeadLetterTopic(w.Outbox)
	allow(ctx, t, w, kadm.NewACLs().Topics(w.Topic(), positions,
		dead).ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead, kadm.OpWrite,
		kadm.OpDescribe))
	allow(ctx, t, w,
		kadm.NewACLs().Groups(names.RelayGroup(w.Outbox)).ResourcePatternType(
			kadm.ACLPatternLiteral).Operations(kadm.OpRead))
	allow(ctx, t, w,
		kadm.NewACLs().TransactionalIDs("sluice."+w.Outbox+".").ResourcePatternType(
			kadm.ACLPatternPrefixed).Operations(kadm.OpDescribe, kadm.OpWrite))
	w.AwaitCommitted(time.Minute)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	l.leave(ctx, 0, leftOpen{id: 'a', committed: true, first: true})
	l.add(50)
	second := w.Run(cfg)
	st := w.AwaitState(0, relay.StateHalted, time.Minute)
	if !strings.Contains(st.Reason, "KAFKA-20734") || !strings.Contains(st.Reason, "commit") ||
		!strings.Contains(st.Reason, "allow its principal Alter on the cluster") {
		t.Errorf("halted: %s", st.Reason)
	}
	allow(ctx, t, w,
		kadm.NewACLs().Clusters().ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpAlter))
	w.AwaitCommitted(time.Minute)
	w.AwaitLog(second, time.Minute, "it is ended now as it should have been")
	verify(t, w)
	if n := len(w.Records(dead)); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// allow gives the relay's user permissions.
func allow(ctx context.Context, t *testing.T, w *testenv.Env, b *kadm.ACLBuilder) {
	t.Helper()
	results, err := kadm.NewClient(w.Kafka).CreateACLs(ctx, b.Allow("User:relay").AllowHosts("*"))
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
