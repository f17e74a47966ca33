package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// GetInfo asks for one value. Any goroutine.
func (c *Conn) GetInfo(ctx context.Context, key string) (string, error) {
	if err := checkWord("GETINFO key", key); err != nil {
		return "", err
	}
	r, err := c.Command(ctx, "GETINFO "+key)
	if err != nil {
		return "", err
	}
	for _, l := range r.Lines {
		if v, ok := strings.CutPrefix(l.Text, key+"="); ok {
			if l.Data != "" {
				return l.Data, nil
			}
			return v, nil
		}
	}
	return "", fmt.Errorf("%w: GETINFO without %q", ErrProtocol, key)
}

// SetConf sets configuration options, each name with its values: several for options that may be repeated, none to set it back
// to its default. All are set, or none. Any goroutine.
func (c *Conn) SetConf(ctx context.Context, options map[string][]string) error {
	if len(options) == 0 {
		return errors.New("control: SetConf without options, at least one is required")
	}
	var line strings.Builder
	line.WriteString("SETCONF")
	names := make([]string, 0, len(options))
	for name := range options {
		if err := checkWord("option", name); err != nil {
			return err
		}
		names = append(names, name)
	}
	slices.Sort(names) // the same call makes the same line
	for _, name := range names {
		if len(options[name]) == 0 {
			line.WriteString(" " + name)
		}
		for _, v := range options[name] {
			line.WriteString(" " + name + "=" + Quote(v))
		}
	}
	_, err := c.Command(ctx, line.String())
	return err
}

// SetEvents says which events are to come; it replaces what was said before. Any goroutine.
func (c *Conn) SetEvents(ctx context.Context, types ...string) error {
	for _, t := range types {
		if err := checkWord("event", t); err != nil {
			return err
		}
	}
	_, err := c.Command(ctx, strings.Join(append([]string{"SETEVENTS"}, types...), " "))
	return err
}

// Signal is a word of the command SIGNAL (control-spec 3.7).
type Signal string

// The signals of use here.
const (
	SignalReload   Signal = "RELOAD"   // read the configuration again
	SignalNewNym   Signal = "NEWNYM"   // new streams on new circuits, and forget what is known of onion services
	SignalShutdown Signal = "SHUTDOWN" // end, a relay after ShutdownWaitLength
	SignalHalt     Signal = "HALT"     // end at once
	SignalActive   Signal = "ACTIVE"   // leave dormant mode
	SignalDormant  Signal = "DORMANT"
)

// Signal sends a signal. After SignalHalt and SignalShutdown tor may end the connection before it answers: ErrClosed then means that
// it has heard. Any goroutine.
func (c *Conn) Signal(ctx context.Context, s Signal) error {
	if err := checkWord("signal", string(s)); err != nil {
		return err
	}
	_, err := c.Command(ctx, "SIGNAL "+string(s))
	return err
}

// TakeOwnership has tor end when this connection ends. Any goroutine.
func (c *Conn) TakeOwnership(ctx context.Context) error {
	_, err := c.Command(ctx, "TAKEOWNERSHIP")
	return err
}

// checkWord refuses what would not be one word of a command.
func checkWord(what, s string) error {
	if s == "" || strings.ContainsAny(s, " \t\r\n\x00\"=") {
		return fmt.Errorf("control: %s is %q, allowed is one word without spaces, quotes and equals signs", what, s)
	}
	return nil
}
