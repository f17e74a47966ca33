/* A QUIC client made of ngtcp2 and GnuTLS, for TestInteropNgtcp2: it sends its standard input on one stream, with the stream's
 * end behind it, writes what comes back to its standard output, and ends when the peer has ended the stream as well.
 *
 *     ngtcp2_client PORT ALPN CAFILE
 *
 * The server is on 127.0.0.1 and has a certificate for "localhost". The exit status is 0 only if all of that went well.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

enum { window = 1 << 20, patience_s = 20 };

static struct {
  ngtcp2_conn *conn;
  gnutls_session_t tls;
  ngtcp2_crypto_conn_ref ref;
  ngtcp2_path path;
  int fd;
  int64_t stream; /* -1: not open yet */
  uint8_t *in;    /* standard input, all of it */
  size_t len, sent;
  int ended; /* our end of the stream has been sent */
  int done;  /* the stream is closed */
  uint64_t code;
} c = {.fd = -1, .stream = -1};

static void fail(const char *what, const char *why) {
  fprintf(stderr, "ngtcp2_client: %s: %s\n", what, why);
  exit(1);
}

static void check(int rv, const char *what) {
  if (rv != 0) {
    fail(what, ngtcp2_strerror(rv));
  }
}

static void check_tls(int rv, const char *what) {
  if (rv < 0) {
    fail(what, gnutls_strerror(rv));
  }
}

static ngtcp2_tstamp now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (ngtcp2_tstamp)t.tv_sec * NGTCP2_SECONDS + (ngtcp2_tstamp)t.tv_nsec;
}

static void on_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
  (void)ctx;
  check_tls(gnutls_rnd(GNUTLS_RND_RANDOM, dest, len), "random bytes");
}

static int on_new_id(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user) {
  (void)conn, (void)user;
  cid->datalen = len;
  on_rand(cid->data, len, NULL);
  on_rand(token, NGTCP2_STATELESS_RESET_TOKENLEN, NULL);
  return 0;
}

static int on_data(ngtcp2_conn *conn, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t *data, size_t len,
                   void *user, void *stream_user) {
  (void)flags, (void)offset, (void)user, (void)stream_user;
  if (len > 0 && fwrite(data, 1, len, stdout) != len) {
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  ngtcp2_conn_extend_max_stream_offset(conn, stream, len);
  ngtcp2_conn_extend_max_offset(conn, len);
  return 0;
}

static int on_stream_close(ngtcp2_conn *conn, uint32_t flags, int64_t stream, uint64_t code, void *user, void *stream_user) {
  (void)conn, (void)stream, (void)user, (void)stream_user;
  c.done = 1;
  c.code = flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET ? code : 0;
  return 0;
}

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref) { return ((void)ref, c.conn); }

static void start_tls(const char *alpn, const char *ca) {
  gnutls_certificate_credentials_t trust;
  gnutls_datum_t name = {(unsigned char *)alpn, (unsigned)strlen(alpn)};
  check_tls(gnutls_certificate_allocate_credentials(&trust), "credentials");
  check_tls(gnutls_certificate_set_x509_trust_file(trust, ca, GNUTLS_X509_FMT_PEM), ca);
  check_tls(gnutls_init(&c.tls, GNUTLS_CLIENT), "gnutls_init");
  check_tls(gnutls_priority_set_direct(c.tls, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL), "priorities");
  check(ngtcp2_crypto_gnutls_configure_client_session(c.tls), "configuration of the TLS session");
  check_tls(gnutls_credentials_set(c.tls, GNUTLS_CRD_CERTIFICATE, trust), "credentials");
  check_tls(gnutls_server_name_set(c.tls, GNUTLS_NAME_DNS, "localhost", strlen("localhost")), "server name");
  check_tls(gnutls_alpn_set_protocols(c.tls, &name, 1, GNUTLS_ALPN_MANDATORY), "ALPN");
  gnutls_session_set_verify_cert(c.tls, "localhost", 0);
  c.ref.get_conn = get_conn;
  gnutls_session_set_ptr(c.tls, &c.ref);
}

static void start_quic(void) {
  ngtcp2_callbacks on = {
      .client_initial = ngtcp2_crypto_client_initial_cb,
      .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
      .encrypt = ngtcp2_crypto_encrypt_cb,
      .decrypt = ngtcp2_crypto_decrypt_cb,
      .hp_mask = ngtcp2_crypto_hp_mask_cb,
      .recv_retry = ngtcp2_crypto_recv_retry_cb,
      .update_key = ngtcp2_crypto_update_key_cb,
      .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
      .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
      .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
      .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
      .recv_stream_data = on_data,
      .stream_close = on_stream_close,
      .rand = on_rand,
      .get_new_connection_id = on_new_id,
  };
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_cid theirs = {.datalen = NGTCP2_MIN_INITIAL_DCIDLEN}, ours = {.datalen = 8};
  on_rand(theirs.data, theirs.datalen, NULL);
  on_rand(ours.data, ours.datalen, NULL);
  ngtcp2_settings_default(&settings);
  settings.initial_ts = now();
  ngtcp2_transport_params_default(&params);
  params.initial_max_stream_data_bidi_local = window;
  params.initial_max_data = window;
  check(ngtcp2_conn_client_new(&c.conn, &theirs, &ours, &c.path, NGTCP2_PROTO_VER_V1, &on, &settings, &params, NULL, NULL),
        "ngtcp2_conn_client_new");
  ngtcp2_conn_set_tls_native_handle(c.conn, c.tls);
}

/* put sends what there is to send. */
static void put(void) {
  uint8_t packet[1452];
  int blocked = 0;
  for (;;) {
    ngtcp2_path_storage path;
    ngtcp2_pkt_info info;
    ngtcp2_ssize taken = -1, n;
    ngtcp2_vec rest = {c.in + c.sent, c.len - c.sent};
    int mine = c.stream >= 0 && !c.ended && !blocked;
    ngtcp2_path_storage_zero(&path);
    n = ngtcp2_conn_writev_stream(c.conn, &path.path, &info, packet, sizeof packet, &taken,
                                  mine ? NGTCP2_WRITE_STREAM_FLAG_FIN : NGTCP2_WRITE_STREAM_FLAG_NONE, mine ? c.stream : -1,
                                  &rest, mine ? 1 : 0, now());
    if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED || n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND) {
      blocked = 1;
      continue;
    }
    if (n < 0) {
      fail("writing a packet", ngtcp2_strerror((int)n));
    }
    if (mine && taken >= 0) {
      c.sent += (size_t)taken;
      c.ended = c.sent == c.len;
    }
    if (n == 0) {
      return;
    }
    if (send(c.fd, packet, (size_t)n, 0) < 0 && errno != EAGAIN) {
      fail("send", strerror(errno));
    }
  }
}

/* take reads one datagram, or lets a timer fire. */
static void take(void) {
  uint8_t packet[65536];
  ngtcp2_pkt_info info = {0};
  struct pollfd p = {.fd = c.fd, .events = POLLIN};
  ngtcp2_tstamp at = ngtcp2_conn_get_expiry(c.conn), t = now();
  int ms = at <= t ? 0 : at - t > NGTCP2_SECONDS ? 1000 : (int)((at - t) / NGTCP2_MILLISECONDS) + 1;
  ssize_t n = 0;
  int rv;
  if (poll(&p, 1, ms) > 0) {
    n = recv(c.fd, packet, sizeof packet, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) {
      fail("recv", strerror(errno));
    }
  }
  if (n > 0 && (rv = ngtcp2_conn_read_pkt(c.conn, &c.path, &info, packet, (size_t)n, now())) != 0) {
    put();
    fail("reading a packet", ngtcp2_strerror(rv));
  }
  if (ngtcp2_conn_get_expiry(c.conn) <= now()) {
    check(ngtcp2_conn_handle_expiry(c.conn, now()), "timer");
  }
}

static void read_input(void) {
  size_t room = 0, n;
  do {
    if (room - c.len < 65536 && (c.in = realloc(c.in, room = 2 * room + 65536)) == NULL) {
      fail("standard input", "out of memory");
    }
    c.len += n = fread(c.in + c.len, 1, 65536, stdin);
  } while (n > 0);
}

static void goodbye(void) {
  uint8_t packet[1452];
  ngtcp2_path_storage path;
  ngtcp2_pkt_info info;
  ngtcp2_connection_close_error why;
  ngtcp2_ssize n;
  ngtcp2_path_storage_zero(&path);
  ngtcp2_connection_close_error_set_application_error(&why, 0, NULL, 0);
  n = ngtcp2_conn_write_connection_close(c.conn, &path.path, &info, packet, sizeof packet, &why, now());
  if (n < 0 || send(c.fd, packet, (size_t)n, 0) < 0) {
    fail("closing", "nothing was sent");
  }
}

int main(int argc, char **argv) {
  struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
  socklen_t size = sizeof here;
  ngtcp2_tstamp until = now() + patience_s * NGTCP2_SECONDS;
  if (argc != 4) {
    fail("usage", "ngtcp2_client PORT ALPN CAFILE");
  }
  read_input();
  there.sin_port = htons((uint16_t)atoi(argv[1]));
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c.fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (c.fd < 0 || connect(c.fd, (struct sockaddr *)&there, sizeof there) != 0 ||
      getsockname(c.fd, (struct sockaddr *)&here, &size) != 0) {
    fail("socket", strerror(errno));
  }
  c.path.local.addr = (ngtcp2_sockaddr *)&here;
  c.path.local.addrlen = sizeof here;
  c.path.remote.addr = (ngtcp2_sockaddr *)&there;
  c.path.remote.addrlen = sizeof there;
  start_tls(argv[2], argv[3]);
  start_quic();
  while (!c.done) {
    if (now() > until) {
      fail("time is up", ngtcp2_conn_get_handshake_completed(c.conn) ? "the stream is still open" : "no handshake");
    }
    put();
    take();
    if (c.stream < 0 && ngtcp2_conn_get_handshake_completed(c.conn)) {
      check(ngtcp2_conn_open_bidi_stream(c.conn, &c.stream, NULL), "opening a stream");
    }
  }
  goodbye();
  if (c.code != 0 || fflush(stdout) != 0) {
    fprintf(stderr, "ngtcp2_client: the stream was reset with code %llu\n", (unsigned long long)c.code);
    return 1;
  }
  return 0;
}
