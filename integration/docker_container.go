//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ory/dockertest/v3"
	client "github.com/ory/dockertest/v3/docker"

	"github.com/sluice-outbox/sluice/integration/process"
	"github.com/sluice-outbox/sluice/integration/servers"
)

// container is a server that runs in a container of the Docker engine on this machine.
type container struct {
	spec servers.Spec
	id   string
	done chan struct{} // closed at the end of the current run
}

func (c *container) Start(ctx context.Context) error {
	pool, err := dockerEngine()
	if err != nil {
		return err
	}
	if c.id == "" {
		err = c.create(pool)
	} else {
		err = pool.Client.StartContainerWithContext(c.id, nil, ctx)
	}
	if err != nil {
		return fmt.Errorf("start %s from image %s: %w", c.spec.Name, c.spec.Image, err)
	}
	done := make(chan struct{})
	c.done = done
	id := c.id
	go func() {
		// An error means that the engine or the container is gone, which is an end as well.
		_, _ = pool.Client.WaitContainer(id)
		close(done)
	}()
	return nil
}

func (c *container) create(pool *dockertest.Pool) error {
	repository, tag := splitImage(c.spec.Image)
	o := &dockertest.RunOptions{
		Repository: repository,
		Tag:        tag,
		Entrypoint: c.spec.Command[:1],
		Cmd:        c.spec.Command[1:],
		Env:        c.spec.Env,
		Mounts:     []string{c.spec.Dir + ":" + c.spec.Dir},
		WorkingDir: c.spec.Dir,
		// The files stay ours, to copy and to remove.
		User:         fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()),
		Labels:       map[string]string{ownerLabel: strconv.Itoa(os.Getpid())},
		PortBindings: map[client.Port][]client.PortBinding{},
	}
	if !c.spec.HostNetwork {
		for _, port := range c.spec.Ports {
			p := strconv.Itoa(port)
			o.ExposedPorts = append(o.ExposedPorts, p+"/tcp")
			o.PortBindings[client.Port(p+"/tcp")] = []client.PortBinding{{HostIP: "127.0.0.1", HostPort: p}}
		}
	}
	r, err := pool.RunWithOptions(o, func(h *client.HostConfig) {
		h.PublishAllPorts = false
		if c.spec.HostNetwork {
			h.NetworkMode = "host"
		}
	})
	if err != nil {
		return err
	}
	c.id = r.Container.ID
	return nil
}

// signal sends a signal to the server, which is the container's first process. A container that has
// ended is no error.
func (c *container) signal(sig client.Signal) error {
	if c.id == "" {
		return nil
	}
	pool, err := dockerEngine()
	if err != nil {
		return err
	}
	err = pool.Client.KillContainer(client.KillContainerOptions{ID: c.id, Signal: sig})
	var gone *client.ContainerNotRunning
	var missing *client.NoSuchContainer
	if err == nil || errors.As(err, &gone) || errors.As(err, &missing) || c.hasEnded() {
		return nil
	}
	return fmt.Errorf("signal %d to %s: %w", sig, c.spec.Name, err)
}

func (c *container) hasEnded() bool {
	select {
	case <-c.done:
		return true
	// The engine may know of the end a moment before we do.
	case <-time.After(time.Second):
		return false
	}
}

func (c *container) Kill() error {
	if err := c.signal(client.SIGKILL); err != nil || c.id == "" {
		return err
	}
	<-c.done
	return nil
}

func (c *container) Terminate(ctx context.Context) error {
	if err := c.signal(client.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not end after SIGTERM: %w", c.spec.Name, ctx.Err()),
			c.Kill())
	}
}

// Freeze uses the signal rather than the engine's pause, as a paused container cannot be killed.
func (c *container) Freeze() error {
	if err := c.signal(client.SIGSTOP); err != nil {
		return err
	}
	if pid := c.PID(); pid != 0 {
		return process.AwaitStopped(pid)
	}
	return nil
}

func (c *container) Thaw() error { return c.signal(client.SIGCONT) }

func (c *container) Ended() <-chan struct{} { return c.done }

func (c *container) Output() string {
	pool, err := dockerEngine()
	if err != nil || c.id == "" {
		return ""
	}
	var out bytes.Buffer
	err = pool.Client.Logs(client.LogsOptions{
		Container: c.id, OutputStream: &out, ErrorStream: &out, Stdout: true, Stderr: true, Tail: "30",
	})
	if err != nil {
		return fmt.Sprintf("(no output: %v)", err)
	}
	return strings.TrimRight(out.String(), "\n")
}

func (c *container) PID() int {
	pool, err := dockerEngine()
	if err != nil || c.id == "" {
		return 0
	}
	found, err := pool.Client.InspectContainer(c.id)
	if err != nil {
		return 0
	}
	return found.State.Pid
}

func (c *container) Remove() error {
	if c.id == "" {
		return nil
	}
	err := c.Kill()
	pool, engineErr := dockerEngine()
	if engineErr != nil {
		return errors.Join(err, engineErr)
	}
	id := c.id
	c.id = ""
	return errors.Join(err, removeContainer(pool, id))
}

// splitImage separates the tag; a colon before the last slash is that of a registry's port.
func splitImage(image string) (repository, tag string) {
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, "latest"
}
