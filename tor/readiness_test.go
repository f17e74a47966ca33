package tor

import (
	"testing"

	"github.com/ron-transport/ron-transport/pool/readiness"
)

func TestReadiness(t *testing.T) {
	noLeaks(t)
	f := newFakeTor(t)
	tor, r := openFake(t, f), loops(t)
	eventually(t, "tor is ready", func() bool { return tor.Readiness().State == readiness.Ready })
	svc, err := listenFake(t, tor, r)
	if err != nil {
		t.Fatal(err)
	}
	becomes := func(what string, want readiness.State, why string) {
		t.Helper()
		is := func(s readiness.Status) bool {
			return s.State == want && (why == "" && len(s.Reasons) == 0 || len(s.Reasons) == 1 && s.Reasons[0].Why == why && s.Reasons[0].Detail != "")
		}
		eventually(t, what, func() bool { return is(tor.Readiness()) && is(svc.Readiness()) })
	}
	becomes("unpublished", readiness.NotReady, "not_ready")
	f.say("HS_DESC UPLOADED " + svc.key.id + " UNKNOWN $A desc")
	becomes("published", readiness.Ready, "")
	f.say("NETWORK_LIVENESS DOWN")
	becomes("the network is gone", readiness.Degraded, "not_ready")
	f.say("NETWORK_LIVENESS UP")
	becomes("and back", readiness.Ready, "")
	f.say("STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=5 TAG=conn SUMMARY=\"Connecting\"")
	becomes("bootstrapping anew", readiness.NotReady, "not_ready")
	tor.mu.Lock()
	tor.late = true // BootstrapTimeout is over
	tor.mu.Unlock()
	becomes("too long", readiness.NotReady, "tor_bootstrap")
	if err := svc.Close(); err != nil {
		t.Fatal(err)
	}
	if s := svc.Readiness(); s.State != readiness.NotReady || s.Reasons[0].Why != "shutting_down" {
		t.Errorf("closed: %+v", s)
	}
}
