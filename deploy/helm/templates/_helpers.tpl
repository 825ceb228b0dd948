{{- define "ilab-chat.name" -}}
{{- if contains "ilab-chat" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-ilab-chat" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ilab-chat.selector" -}}
app.kubernetes.io/name: ilab-chat
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ilab-chat.labels" -}}
{{ include "ilab-chat.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ilab-chat.gateway" -}}
{{ include "ilab-chat.name" . }}-gateway
{{- end }}

{{- define "ilab-chat.gatewaySelector" -}}
app.kubernetes.io/name: ilab-chat-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ilab-chat.gatewayLabels" -}}
{{ include "ilab-chat.gatewaySelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ilab-chat.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- define "ilab-chat.tls" -}}
{{- if and .Values.tls.secretName (not .Values.metrics.enabled) }}{{ fail "metrics.enabled must be true with tls.secretName: probes of Kubernetes speak gRPC without TLS only" }}{{ end }}
{{- if and .Values.tls.clientCertificates (not .Values.tls.secretName) }}{{ fail "tls.clientCertificates needs tls.secretName" }}{{ end }}
{{- if and (eq .Values.auth.mode "tokens") (not .Values.auth.tokensSecretName) }}{{ fail "auth.tokensSecretName is required for auth.mode tokens" }}{{ end }}
{{- if and (eq .Values.auth.mode "spiffe") (not .Values.tls.clientCertificates) }}{{ fail "tls.clientCertificates must be true for auth.mode spiffe" }}{{ end }}
{{- if and (eq .Values.store "postgres") (not .Values.secret.name) }}{{ fail "secret.name is required for store postgres: its key memory-url is the URL of the database" }}{{ end }}
{{- end }}

{{- define "ilab-chat.probes" -}}
{{- if .Values.tls.secretName }}
startupProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 6
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 2
{{- else }}
startupProbe:
  grpc: {port: 50051, service: ilab_chat.v1.ChatService}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
# The process as a whole: a restart does not repair a damaged memory or a drain.
livenessProbe:
  grpc: {port: 50051}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  grpc: {port: 50051, service: ilab_chat.v1.ChatService}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}
{{- end }}

{{- define "ilab-chat.env" -}}
- {name: ILAB_CHAT_ADDRESS, value: "0.0.0.0:50051"}
{{- if .Values.metrics.enabled }}
- {name: ILAB_CHAT_METRICS_ADDRESS, value: "0.0.0.0:{{ .Values.metrics.port }}"}
{{- end }}
- {name: ILAB_CHAT_LOG_FORMAT, value: json}
- {name: ILAB_CHAT_PROPAGATION_SECONDS, value: {{ .Values.shutdown.propagationSeconds | quote }}}
- {name: ILAB_CHAT_DRAIN_SECONDS, value: {{ .Values.shutdown.drainSeconds | quote }}}
- {name: ILAB_CHAT_AUTH, value: {{ .Values.auth.mode }}}
{{- if eq .Values.auth.mode "tokens" }}
- {name: ILAB_CHAT_AUTH_TOKENS_FILE, value: /etc/ilab-chat/auth/tokens}
{{- end }}
{{- if .Values.tls.secretName }}
- {name: ILAB_CHAT_TLS_CERT_FILE, value: /etc/ilab-chat/tls/tls.crt}
- {name: ILAB_CHAT_TLS_KEY_FILE, value: /etc/ilab-chat/tls/tls.key}
{{- if .Values.tls.clientCertificates }}
- {name: ILAB_CHAT_TLS_CLIENT_CA_FILE, value: /etc/ilab-chat/tls/ca.crt}
{{- end }}
{{- else }}
- {name: ILAB_CHAT_ALLOW_PLAINTEXT, value: "true"}
{{- end }}
{{- if eq .Values.store "sqlite" }}
- {name: ILAB_MEMORY_DB_PATH, value: /data/memory.db}
{{- else }}
# Not the file that the image names: the URL is in a Secret.
- {name: ILAB_MEMORY_DB_PATH, value: ""}
{{- end }}
{{- if .Values.modelsToml }}
- {name: ILAB_CHAT_MODELS_FILE, value: /etc/ilab-chat/config/models.toml}
{{- end }}
{{- if .Values.secret.name }}
{{- range $setting, $key := .Values.secret.keys }}
{{- if not (and (eq $setting "ILAB_MEMORY_URL") (eq $.Values.store "sqlite")) }}
- {name: {{ $setting }}_FILE, value: /etc/ilab-chat/secret/{{ $key }}}
{{- end }}
{{- end }}
{{- end }}
{{- range $setting, $value := .Values.settings }}
- {name: {{ $setting }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "ilab-chat.template" -}}
{{- include "ilab-chat.tls" . }}
metadata:
  labels:
    {{- include "ilab-chat.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: server
    {{- if .Values.modelsToml }}
    checksum/config: {{ .Values.modelsToml | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ .Values.serviceAccountName }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # Longer than both waits of a shutdown: what is left closes connections and the memory.
  terminationGracePeriodSeconds: {{ add .Values.shutdown.propagationSeconds .Values.shutdown.drainSeconds 15 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: server
      image: {{ include "ilab-chat.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      env:
        {{- include "ilab-chat.env" . | nindent 8 }}
      ports:
        - {name: grpc, containerPort: 50051}
        {{- if .Values.metrics.enabled }}
        - {name: metrics, containerPort: {{ .Values.metrics.port }}}
        {{- end }}
      {{- include "ilab-chat.probes" . | nindent 6 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if eq .Values.store "sqlite" }}
        - {name: data, mountPath: /data}
        {{- end }}
        {{- if .Values.tls.secretName }}
        - {name: tls, mountPath: /etc/ilab-chat/tls, readOnly: true}
        {{- end }}
        {{- if eq .Values.auth.mode "tokens" }}
        - {name: auth, mountPath: /etc/ilab-chat/auth, readOnly: true}
        {{- end }}
        {{- if .Values.secret.name }}
        - {name: secret, mountPath: /etc/ilab-chat/secret, readOnly: true}
        {{- end }}
        {{- if .Values.modelsToml }}
        - {name: config, mountPath: /etc/ilab-chat/config, readOnly: true}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if .Values.tls.secretName }}
    - name: tls
      secret: {secretName: {{ .Values.tls.secretName }}, defaultMode: 0440}
    {{- end }}
    {{- if eq .Values.auth.mode "tokens" }}
    - name: auth
      secret: {secretName: {{ .Values.auth.tokensSecretName }}, defaultMode: 0440}
    {{- end }}
    {{- if .Values.secret.name }}
    - name: secret
      secret: {secretName: {{ .Values.secret.name }}, defaultMode: 0440}
    {{- end }}
    {{- if .Values.modelsToml }}
    - name: config
      configMap: {name: {{ include "ilab-chat.name" . }}}
    {{- end }}
  {{- if eq .Values.store "postgres" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "ilab-chat.selector" . | nindent 10 }}
  {{- end }}
  {{- range $field := list "nodeSelector" "tolerations" "affinity" }}
  {{- with get $.Values $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}
