package main

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/control"
)

// paused is the result of pause and of resume without a position.
type paused struct {
	Outbox string `json:"outbox"`
	Shards []int  `json:"shards"` // empty: all
	Paused bool   `json:"paused"`
	Reason string `json:"reason,omitempty"`
	// Changed is false if that was so before.
	Changed bool `json:"changed"`
}

func newPauseCommand(a *app) *cobra.Command {
	var shards []int
	var reason string
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Stop delivering, without losing anything",
		Long: `Stop delivering all shards, or those named, until 'sluice resume'. Relays finish their open
transactions and follow within about a second; events stay in Redis meanwhile, so watch its memory.
The pause also holds relays that start later.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, s, err := a.outbox(cmd, shards)
			if err != nil {
				return err
			}
			defer s.close()
			p := control.Pause{At: time.Now(), By: whoami(), Reason: reason}
			for _, shard := range orAll(shards) {
				if err := control.SetPause(cmd.Context(), s.redis, c.Outbox.Name, shard, p); err != nil {
					return err
				}
			}
			result := paused{
				Outbox: c.Outbox.Name, Shards: slices.Clone(shards), Paused: true,
				Reason: reason, Changed: true,
			}
			return a.print(result, func(p *page) {
				p.printf("%s of outbox %s: paused. To go on: sluice resume%s\n", shardsText(shards),
					c.Outbox.Name, shardFlags(shards))
			})
		},
	}
	cmd.Flags().IntSliceVar(&shards, "shard", nil, "`SHARD` to pause; can be repeated (default all)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at the status")
	return cmd
}

// orAll gives the shards, or the one name for all.
func orAll(shards []int) []int {
	if len(shards) == 0 {
		return []int{control.All}
	}
	return shards
}

func shardsText(shards []int) string {
	if len(shards) == 0 {
		return "all shards"
	}
	texts := make([]string, len(shards))
	for i, s := range shards {
		texts[i] = strconv.Itoa(s)
	}
	if len(shards) == 1 {
		return "shard " + texts[0]
	}
	return "shards " + strings.Join(texts, ", ")
}

func shardFlags(shards []int) string {
	var b strings.Builder
	for _, s := range shards {
		fmt.Fprintf(&b, " --shard %d", s)
	}
	return b.String()
}

// whoami names the user for those who find a pause or a position that somebody has set.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
