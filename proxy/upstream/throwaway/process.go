package throwaway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is one running server program and the goroutine that waits for it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // how it ended; read after done
}

// program is what to run: as whom, where, with what on its standard input and with its output going
// to which log.
type program struct {
	as    account
	dir   string
	stdin string
	log   *os.File
	path  string
	args  []string
	env   []string // beside environment
}

// start starts the program in a process group of its own: an interrupt at the terminal is ours to
// handle.
func (pr program) start() (*process, error) {
	cmd := exec.Command(pr.path, pr.args...)
	cmd.Dir = pr.dir
	cmd.Env = append(environment(), pr.env...)
	if pr.stdin != "" {
		cmd.Stdin = strings.NewReader(pr.stdin)
	}
	cmd.Stdout, cmd.Stderr = pr.log, pr.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: pr.as.credential, Setpgid: true}
	endWithParent(cmd.SysProcAttr)

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal comes when the thread that forked ends, so this one stays until the
		// child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", pr.path, err)
	}
	return p, nil
}

// run runs the program to its end and returns what it printed, which an error quotes too.
func (pr program) run() (string, error) {
	log, err := os.CreateTemp("", "sallyport-log-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(log.Name())
	defer log.Close()
	pr.log = log
	p, err := pr.start()
	if err != nil {
		return "", err
	}
	<-p.done
	printed, err := os.ReadFile(log.Name())
	if p.err != nil {
		return "", fmt.Errorf("running %s: %w%s", pr.path, p.err, tail(log.Name()))
	}
	return string(printed), err
}

// environment is the same wherever a test runs: no PG* variables, UTF-8, UTC.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC"}
}

// pid is the program's process id.
func (p *process) pid() int { return p.cmd.Process.Pid }

// ended reports whether the program has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop sends the signals in turn, each with its patience, and last kills the whole tree. It returns
// when the program has ended.
func (p *process) stop(patience time.Duration, signals ...syscall.Signal) {
	for _, sig := range signals {
		_ = p.cmd.Process.Signal(sig) // fails only if it has ended
		select {
		case <-p.done:
			return
		case <-time.After(patience):
		}
	}
	p.signalTree(syscall.SIGKILL)
	<-p.done
}

// signalTree sends a signal to the program and to its children. The program is halted while its
// children are listed, so that none is missed.
func (p *process) signalTree(sig syscall.Signal) {
	if p.ended() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	pids := children(p.pid())
	_ = p.cmd.Process.Signal(sig)
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}

// startTime is how long a server may take until it accepts connections.
const startTime = 60 * time.Second

// await asks again and again whether a program is ready, until it is, has failed or has ended.
func await(ctx context.Context, p *process, ready func() (bool, error)) error {
	late := errors.New("it was not ready within " + startTime.String())
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, late)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("it ended at once: %w", p.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
