package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// RedisCopy is a copy of a Redis server's files at one moment.
type RedisCopy struct{ dir string }

// CopyData copies the server's files as a power cut would leave them: the server is frozen
// meanwhile and then goes on. Writes acknowledged before are in the copy, except that a server that
// could not keep up with "appendfsync everysec" may lack the last two seconds.
//
// The copy lives in the server's folder and goes with it. It may be restored more than once.
func (r *Redis) CopyData(ctx context.Context) (*RedisCopy, error) {
	var c RedisCopy
	err := r.with(func() (err error) {
		if err := r.ping(ctx); err != nil {
			return fmt.Errorf("copy the files of %s: it must run: %w", r.Name, err)
		}
		if err := r.instance.Freeze(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.instance.Thaw()) }()
		r.copies++
		c.dir = filepath.Join(r.dir, fmt.Sprintf("copy-%d", r.copies))
		return copyTree(c.dir, r.dataDir())
	})
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// RestoreData kills the server, sets its files back to the copy and starts it again, as an operator
// would who restores a backup. Everything written since the copy is gone.
func (r *Redis) RestoreData(ctx context.Context, c *RedisCopy) error {
	return r.with(func() error {
		if err := r.instance.Kill(); err != nil {
			return err
		}
		if err := copyTree(r.dataDir(), c.dir); err != nil {
			return err
		}
		return r.startLocked(ctx)
	})
}

// copyTree replaces dst with a copy of src.
func copyTree(dst, src string) error {
	if err := os.RemoveAll(dst); err != nil {
		return fmt.Errorf("replace %s: %w", dst, err)
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return fmt.Errorf("replace %s: %w", dst, err)
	}
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	return nil
}
