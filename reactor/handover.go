package reactor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The messages of a handover, on a unix socket of type SEQPACKET, which keeps their bounds. The predecessor offers its
// sockets: a version byte, then a name per descriptor, each behind its length in two bytes. The successor accepts from
// them and says ready. The predecessor answers done, and stops accepting.
const (
	handoverVersion = 1
	handoverReady   = "ready"
	handoverDone    = "done"
)

// errHandover is a peer that does not speak as above.
var errHandover = errors.New("reactor: handover: the other process does not follow the protocol")

// ServeHandover waits at path, a unix socket with mode 0600, for a successor that calls TakeOver: a process of the same
// user, or of root. It passes the listeners' sockets on, goes on accepting until the successor is ready, then closes the
// listeners and returns nil; connections that wait in the kernel's queue are the successor's. No connection is refused or
// reset on the way. What is left to do is Shutdown. A successor that fails, or takes longer than a minute, changes
// nothing, and the next one is waited for. When ctx ends first its error is returned. Any goroutine except a loop's.
func ServeHandover(ctx context.Context, path string, listeners []*Listener) error {
	if len(listeners) == 0 || len(listeners) > maxHandover {
		return fmt.Errorf("reactor: %d listeners, allowed are 1 to %d", len(listeners), maxHandover)
	}
	for {
		if done, err := serveHandover(ctx, path, listeners); err != nil {
			return err
		} else if done {
			break
		}
	}
	var err error
	for _, lis := range listeners {
		lis.left.Store(true)
		err = errors.Join(err, lis.Close())
	}
	return err
}

// serveHandover serves successors until one has taken over. done is false when the path has to be bound again.
func serveHandover(ctx context.Context, path string, listeners []*Listener) (done bool, err error) {
	ln, file, err := listenHandover(path)
	if err != nil {
		return false, err
	}
	defer func() {
		_ = file.remove()
		_ = ln.Close()
	}()
	defer context.AfterFunc(ctx, func() { _ = ln.SetDeadline(time.Unix(1, 0)) })()
	for {
		c, err := ln.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return false, ctx.Err()
		}
		if err != nil { // no descriptors: they will come back
			time.Sleep(handoverPause)
			continue
		}
		ready, err := offer(ctx, c, listeners)
		if err != nil || !ready {
			_ = c.Close()
			if err != nil {
				return false, err
			}
			continue
		}
		_ = file.remove() // the successor may want to wait at the same path at once
		_, err = c.Write([]byte(handoverDone))
		_ = c.Close()
		return err == nil, nil
	}
}

// listenHandover makes the socket where successors are waited for.
func listenHandover(path string) (*net.UnixListener, socketFile, error) {
	if path == "" || isAbstract(path) {
		return nil, socketFile{}, fmt.Errorf("reactor: handover path is %q, allowed is a path in the file system", path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, socketFile{}, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }() // FileListener duplicates it
	file, err := listenUnix(fd, path, DefaultUnixMode)
	if err != nil {
		return nil, file, fmt.Errorf("reactor: handover at %s: %w", path, err)
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, file, errors.Join(err, file.remove())
	}
	return ln.(*net.UnixListener), file, nil
}

// offer passes the sockets to one successor and waits until it is ready. An error is of our side, and final.
func offer(ctx context.Context, c *net.UnixConn, listeners []*Listener) (ready bool, err error) {
	if !sameUser(c) {
		return false, nil
	}
	_ = c.SetDeadline(time.Now().Add(handoverTimeout))
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	msg := []byte{handoverVersion}
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, lis := range listeners {
		fd, err := lis.dup()
		if errors.Is(err, unix.EMFILE) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		fds = append(fds, fd)
		msg = binary.BigEndian.AppendUint16(msg, uint16(len(lis.name)))
		msg = append(msg, lis.name...)
	}
	for _, lis := range listeners {
		lis.share()
	}
	if _, _, err := c.WriteMsgUnix(msg, unix.UnixRights(fds...), nil); err != nil {
		return false, ctx.Err()
	}
	word := make([]byte, len(handoverReady)+1)
	n, err := c.Read(word)
	if err != nil || string(word[:n]) != handoverReady {
		return false, ctx.Err()
	}
	return true, nil
}

// sameUser says whether the other process belongs to our user, or to root.
func sameUser(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) { cred = peerCred(int(fd)) }); err != nil || cred == nil {
		return false
	}
	return cred.Uid == 0 || cred.Uid == uint32(os.Geteuid())
}

// Handover is what a successor has got from its predecessor.
type Handover struct {
	// Files are the predecessor's listening sockets, for ListenFile; each file's Name is its listener's. Close closes them.
	Files []*os.File

	c *net.UnixConn
}

// TakeOver gets the listening sockets of the process that waits at path with ServeHandover, which must be of the same
// user, or of root. Then: ListenFile for each file, Ready, Close. Until Ready both processes accept. Any goroutine except a
// loop's.
func TakeOver(ctx context.Context, path string) (*Handover, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, fmt.Errorf("reactor: handover: %w", err)
	}
	h := &Handover{c: nc.(*net.UnixConn)}
	if err := h.receive(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// receive takes the offer.
func (h *Handover) receive(ctx context.Context) error {
	if !sameUser(h.c) {
		return errors.New("reactor: handover: the other process belongs to another user")
	}
	defer h.until(ctx)()
	msg, oob := make([]byte, 1+maxHandover*(2+maxName)), make([]byte, unix.CmsgSpace(4*maxHandover))
	n, nOOB, flags, _, err := h.c.ReadMsgUnix(msg, oob)
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("reactor: handover: %w", err))
	}
	fds := rights(oob[:nOOB])
	names := handoverNames(msg[:n])
	for i, fd := range fds {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		h.Files = append(h.Files, os.NewFile(uintptr(fd), name)) // also when they are refused: Close closes them
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(fds) == 0 || len(names) != len(fds) {
		return errHandover
	}
	return nil
}

// handoverNames takes the names out of an offer; nil when it is malformed.
func handoverNames(msg []byte) (names []string) {
	if len(msg) == 0 || msg[0] != handoverVersion {
		return nil
	}
	for msg = msg[1:]; len(msg) > 0; {
		if len(msg) < 2 || len(msg) < 2+int(binary.BigEndian.Uint16(msg)) {
			return nil
		}
		size := 2 + int(binary.BigEndian.Uint16(msg))
		names = append(names, string(msg[2:size]))
		msg = msg[size:]
	}
	return names
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// until has the end of ctx, or of the time that a handover may take, interrupt reads and writes until stop is called.
func (h *Handover) until(ctx context.Context) (stop func() bool) {
	_ = h.c.SetDeadline(time.Now().Add(handoverTimeout))
	return context.AfterFunc(ctx, func() { _ = h.c.SetDeadline(time.Unix(1, 0)) })
}

// Ready tells the predecessor to stop accepting, and waits until it has agreed. After an error the predecessor goes on as
// before: close the listeners again, and Close. Any goroutine except a loop's.
func (h *Handover) Ready(ctx context.Context) error {
	defer h.until(ctx)()
	word := make([]byte, len(handoverDone)+1)
	_, err := h.c.Write([]byte(handoverReady))
	n := 0
	if err == nil {
		n, err = h.c.Read(word)
	}
	switch {
	case err != nil:
		return errors.Join(ctx.Err(), fmt.Errorf("reactor: handover: %w", err))
	case string(word[:n]) != handoverDone:
		return errHandover
	}
	return nil
}

// Close closes the files and the connection to the predecessor, which, without Ready, goes on as before. Any goroutine.
func (h *Handover) Close() error {
	err := h.c.Close()
	for _, f := range h.Files {
		err = errors.Join(err, f.Close())
	}
	h.Files = nil
	return err
}
