package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/bench"
)

const driveName = "drive"

// driveCommand is how to start this program as a driver.
func driveCommand() ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to run each driver in a process of its own: %w", err)
	}
	return []string{program, "bench", driveName}, nil
}

// newDriveCommand is the process of one driver, started by bench.
func newDriveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    driveName,
		Short:  "Be one driver of a measurement",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := bench.Drive(cmd.Context(), a.in, a.out); err != nil {
				return errQuiet // it was told to the measuring process
			}
			return nil
		},
	}
}
