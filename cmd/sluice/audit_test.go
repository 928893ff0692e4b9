package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/outbox"
)

// auditing runs the audit command of a shop with the arguments.
func (s *shop) auditing(t *testing.T, output string, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs, file: s.file, output: output}
	cmd := newAuditCommand(a)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAuditCommand(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	out, err := s.auditing(t, "json", "--settle", "0")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r consistency.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Verdict != consistency.Agree || r.Outbox != "orders" || len(r.Range) != 2 {
		t.Fatalf("%s", out)
	}
	// An entry that nobody delivers is not compared, and that is no agreement.
	w, err := outbox.NewWriter(s.redis, outbox.Config{Outbox: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tx(t.Context(), "42", func(tx *outbox.Tx) error {
		return tx.Append(outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced"})
	}); err != nil {
		t.Fatal(err)
	}
	if out, err = s.auditing(t, "text", "--settle", "0"); !errors.Is(err, errQuiet) ||
		!strings.Contains(out, "not delivered yet") {
		t.Fatalf("%v\n%s", err, out)
	}
	// From outside it counts as lost.
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 2, 1, nil,
		"outbox.event.order"); err != nil {
		t.Fatal(err)
	}
	var drift *thresholdError
	for _, flags := range [][]string{{"--outside"}, {"--topics", "outbox.event.*"}} {
		if out, err = s.auditing(t, "text", append(flags, "--settle", "0")...); !errors.As(err, &drift) ||
			!strings.Contains(out, "1 lost") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if out, err = s.auditing(t, "text", "history"); err != nil || strings.Count(out, "\n") != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err = s.auditing(t, "text", "show", "1"); err != nil || !strings.HasPrefix(out, "agree") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestAuditCommandRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, x := range []struct{ args, want string }{
		{"--from 5", "want <milliseconds>-<sequence>"},
		{"--from 5-0", "need --topics or --outside"},
		{"--topics t --watch u", "leave --watch out"},
		{"--topics [", "syntax error in pattern"},
		{"--topics t --plan x", "cannot be used with --outside"},
		{"--settle -1s", "cannot be negative"},
		{"--schedule CRON_TZ=", "--schedule: audit.schedule: expected a cron expression"},
		{"--schedule=CRON_TZ=", "--schedule: audit.schedule: expected a cron expression"},
		{"--schedule 5 * * * *", "in quotes"},
		{"--schedule", "has no audit.schedule"},
		{"--schedule=@hourly now", "unknown argument"},
		{"now", "unknown argument"},
		{"--listen off", "goes with --schedule"},
		{"--on-duplicate no", "--on-duplicate: audit.on_duplicate: expected drift or report"},
		{"--replica http://h", "--replica: audit.replica: expected redis://"},
		{"--schedule @hourly --full", "cannot be used with --full"},
		{"--watch [", "--watch: audit.watch: expected a pattern"},
		{"--outside --plan x", "cannot be used with --outside"},
		{"show x", "not the number of an audit"},
		{"--html /nowhere/report.html", "it cannot be written"},
		{"show 1 --html .", "it is a directory"},
	} {
		_, err := s.auditing(t, "text", strings.Fields(x.args)...)
		var usage *usageError
		var wrong *config.Error
		if !errors.As(err, &usage) && !errors.As(err, &wrong) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("audit %s: %v, want %q", x.args, err, x.want)
		}
	}
}

func TestRepairCommandRefusesWhatIsNoPlan(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	dir := t.TempDir()
	for name, x := range map[string]struct{ text, want string }{
		"none":    {"", "not a plan"},
		"text":    {"hello", "not a plan"},
		"version": {`{"v":2}`, "another version"},
		"other":   {`{"v":1,"outbox":"others"}`, "the configuration names"},
		"consent": {`{"v":1,"outbox":"orders","send":[{"shard":0,"entry":"5-0"}]}`, "add --yes"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &errs, file: s.file}
		cmd := newRepairCommand(a)
		cmd.SetArgs([]string{file})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.ExecuteContext(t.Context())
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
	// With consent the plan is compared with what is there.
	a := &app{
		in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, file: s.file,
		yes: true,
	}
	cmd := newRepairCommand(a)
	cmd.SetArgs([]string{filepath.Join(dir, "consent")})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.ExecuteContext(t.Context()); !errors.Is(err, consistency.ErrPlanStale) {
		t.Errorf("%v", err)
	}
}
