package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/config"
)

// firstConfig is the file of `sluice init`: everything that must be decided, and the defaults that
// are decided most often.
const firstConfig = `# Configuration of sluice. Every setting: sluice config reference
outbox: {name: %s, shards: %d}   # shards: how many relays can share the work; fixed once created
# Redis: or addrs: [..] for a cluster, or sentinel: {..}. The password comes from
# SLUICE_REDIS_PASSWORD or password_file.
redis:  {url: %s}
kafka:  {brokers: ["%s"]}   # tls: {..} and sasl: {..} as needed
relay:
  delivery: exactly-once                       # or at-least-once
  route: "outbox.event.{{.AggregateType}}"     # topic of an event
  trim: {keep: 1h}                             # age at which delivered entries go; off: never
audit: {schedule: "*/15 * * * *"}              # when the relays compare both sides
http: {listen: "127.0.0.1:8080"}               # /metrics, /livez, /readyz
`

func newInitCommand(a *app) *cobra.Command {
	var name, redisURL, broker string
	var shards int
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented sluice.yaml to begin with",
		Long: `Write a commented sluice.yaml to begin with, or the file of -c. A file that is there is
left alone. Afterwards: 'sluice migrate apply' creates the outbox on both servers, 'sluice check'
looks for what would fail later, and 'sluice relay' delivers.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text := fmt.Sprintf(firstConfig, name, shards, redisURL, broker)
			if err := checkFirst(text); err != nil {
				return err
			}
			file := a.file
			if file == "" {
				file = config.DefaultFile
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return usagef("%s is there already; remove it first, or write another file with -c", file)
			}
			if err != nil {
				return err
			}
			if _, err := f.WriteString(text); err != nil {
				_ = f.Close()
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			return a.print(map[string]string{"file": file}, func(p *page) {
				p.printf("%s written. Next: sluice migrate apply, sluice check, sluice relay\n", file)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "orders", "name of the outbox")
	f.IntVar(&shards, "shards", 4, "number of shards")
	f.StringVar(&redisURL, "redis", "redis://localhost:6379/0", "`URL` of Redis, without a password")
	f.StringVar(&broker, "kafka", "localhost:9092", "one `BROKER`, host:port")
	return cmd
}

// checkFirst loads the text as the other commands will, so that init never writes a file they
// refuse.
func checkFirst(text string) error {
	f, err := os.CreateTemp("", "sluice-*.yaml")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = config.Load(config.Source{File: f.Name()})
	var wrong *config.Error
	if errors.As(err, &wrong) {
		return usagef("%s", wrong.Problems[0].Text)
	}
	return err
}
