package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// The process of a path takes orders, one a line, on standard input: "set " and the parameters of both directions as JSON. It answers with
// lineWANSet, and what was wrong with them.
const (
	orderSet   = "set "
	lineWANSet = "set "
)

// changePath does what the orders say on a goroutine of its own. The context it returns ends with them, because the pipe that a parent holds
// closes however the parent dies.
func (a *app) changePath(ctx context.Context, orders io.Reader, pair *impair.Pair) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process at the latest: a read of standard input cannot be interrupted
		for sc := bufio.NewScanner(orders); sc.Scan(); {
			var p impair.Params
			order, ok := strings.CutPrefix(sc.Text(), orderSet)
			err := fmt.Errorf("%q is no order; allowed: %sPARAMETERS", sc.Text(), orderSet)
			if ok {
				err = json.Unmarshal([]byte(order), &p)
			}
			if err == nil {
				err = errors.Join(pair.Set(impair.AToB, p), pair.Set(impair.BToA, p))
			}
			fmt.Fprintf(a.stdout, "%sok=%t %v\n", lineWANSet, err == nil, err)
		}
		cancel()
	}()
	return ctx, cancel
}

// set changes both directions of the path, and returns when that is done.
func (p *wanPath) set(params impair.Params) error {
	b, err := json.Marshal(params)
	if err != nil {
		return err
	}
	if err := p.Tell(orderSet + string(b)); err != nil {
		return err
	}
	line, err := p.WaitLine(lineWANSet, startWait)
	if err != nil {
		return err
	}
	if ok, err := field(line, "ok"); err != nil || ok != "true" {
		return errors.Join(err, errors.New("the path: "+line))
	}
	return nil
}

// end ends the process and returns its counters.
func (p *wanPath) end() (report.WANCounters, error) {
	var w report.WAN
	err := p.stop(&w)
	return w.Counters, err
}
