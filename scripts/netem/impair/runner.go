package impair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// runner moves the packets of one direction: it reads them from one device, has the link keep them, and writes them to the other. It has a
// thread of its own, which sleeps until a packet comes or one is due, whichever is first, to the nanosecond as far as the kernel can.
type runner struct {
	from, to int // descriptors; the Pair's
	mtu      int
	began    time.Time
	wake     int            // an eventfd: something has been changed
	fds      [2]unix.PollFd // what sleep waits for; they are here so that nothing is allocated for each packet
	timer    unix.Timespec  // and how long

	mu      sync.Mutex
	link    *Link
	stopped bool
	err     error // why it has ended by itself
}

func newRunner(from, to int, mtu int, began time.Time, l *Link) (*runner, error) {
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &runner{from: from, to: to, mtu: mtu, began: began, wake: wake, link: l}, nil
}

func (r *runner) now() time.Duration { return time.Since(r.began) } // the monotonic clock

// set changes the link's parameters and has the thread look at its deadlines again. Once stopped it is os.ErrClosed.
func (r *runner) set(p Params) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return os.ErrClosed
	}
	r.link.Set(r.now(), p)
	return r.wakeUp()
}

// stop has run return.
func (r *runner) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return r.wakeUp()
}

// wakeUp needs mu: the descriptor is closed only after stopped is set, and then nobody wakes the thread any more.
func (r *runner) wakeUp() error {
	_, err := unix.Write(r.wake, binary.NativeEndian.AppendUint64(nil, 1))
	return os.NewSyscallError("write", err)
}

// close lets go of what is the runner's own, once run has returned.
func (r *runner) close() error { return os.NewSyscallError("close", unix.Close(r.wake)) }

func (r *runner) ended() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// run is the thread.
func (r *runner) run() {
	runtime.LockOSThread() // and never unlocked: the slack is the thread's
	err := os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlackNS, 0, 0, 0))
	_ = realTime(0, unix.SCHED_FLAG_RESET_ON_FORK) // where that is not allowed the emulation is later on a busy machine, and counts it
	buf := make([]byte, max(r.mtu, DefaultMTU))
	for err == nil {
		var wait *unix.Timespec
		var stopped bool
		if wait, stopped, err = r.turn(buf); err != nil || stopped {
			break
		}
		err = r.sleep(wait)
	}
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
}

// turn takes what has come, sends what is due, and says how long to sleep: nil is until something comes.
func (r *runner) turn(buf []byte) (wait *unix.Timespec, stopped bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	more, err := r.receive(buf)
	if err == nil {
		err = r.deliver()
	}
	if err != nil || r.stopped {
		return nil, r.stopped, err
	}
	at, ok := r.link.Next()
	switch {
	case more:
		at = 0
	case !ok:
		return nil, false, nil
	default:
		at = max(0, at-r.now())
	}
	r.timer = unix.NsecToTimespec(int64(at))
	return &r.timer, false, nil
}

// receive reads up to a batch of packets. more: there may be others.
func (r *runner) receive(buf []byte) (more bool, err error) {
	for range readBatch {
		n, err := unix.Read(r.from, buf)
		switch {
		case err == nil:
			r.link.Push(r.now(), buf[:n])
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
		default:
			return false, fmt.Errorf("impair: read from the device: %w", err)
		}
	}
	return true, nil
}

// deliver writes the packets that are due. A packet that the device refuses, because a wrong bit has made it no IP packet or because the
// kernel has no memory, is counted; a device that has gone is an error.
func (r *runner) deliver() error {
	now := r.now()
	for b, ok := r.link.Pop(now); ok; b, ok = r.link.Pop(now) {
		_, err := unix.Write(r.to, b)
		for errors.Is(err, unix.EINTR) {
			_, err = unix.Write(r.to, b)
		}
		if err == nil {
			continue
		}
		r.link.unsent(len(b))
		if errors.Is(err, unix.EBADF) || errors.Is(err, unix.EBADFD) {
			return fmt.Errorf("impair: write to the device: %w", err)
		}
	}
	return nil
}

// sleep waits for a packet, a change or the time.
func (r *runner) sleep(wait *unix.Timespec) error {
	r.fds = [2]unix.PollFd{{Fd: int32(r.from), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}}
	fds := r.fds[:]
	if _, err := unix.Ppoll(fds, wait, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("ppoll", err)
	}
	if fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 && fds[0].Revents&unix.POLLIN == 0 {
		return fmt.Errorf("impair: the device has gone (poll says %#x)", fds[0].Revents)
	}
	if fds[1].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(r.wake, b[:]) // that it is readable is all it says
	}
	return nil
}
