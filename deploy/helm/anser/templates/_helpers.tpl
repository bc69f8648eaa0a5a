{{- define "anser.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- /* Labels of a role: (dict "root" $ "role" "connector") */ -}}
{{- define "anser.selector" -}}
app.kubernetes.io/name: anser
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "anser.labels" -}}
{{ include "anser.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* The pods of a role. They differ in what they do and where they listen. */ -}}
{{- define "anser.deployment" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $values := index $root.Values $role -}}
{{- $hostPort := $values.hostPort | default 0 | int -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "anser.name" $root }}-{{ $role }}
  labels: {{- include "anser.labels" . | nindent 4 }}
spec:
  replicas: {{ $values.replicas }}
  selector:
    matchLabels: {{- include "anser.selector" . | nindent 6 }}
  # One pod after the other; with a port of the machine the old one must go first.
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ if $hostPort }}0{{ else }}1{{ end }}
      maxUnavailable: {{ if $hostPort }}1{{ else }}0{{ end }}
  template:
    metadata:
      labels: {{- include "anser.labels" . | nindent 8 }}
      annotations:
        # A change of the configuration starts the pods anew.
        checksum/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      # Kubernetes would name this release's Services by variables that begin with ANSER_. Of those Anser
      # reads what has two underscores in the middle, and refuses what is a key's variable but for one
      # of them: a Service should not come near.
      enableServiceLinks: false
      automountServiceAccountToken: false
      # The 5 s of preStop, node.shutdown_timeout, and a little more.
      terminationGracePeriodSeconds: {{ add 10 $root.Values.shutdownSeconds }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 7400
        runAsGroup: 7400
        fsGroup: 7400
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile:
          type: RuntimeDefault
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "anser.selector" . | nindent 14 }}
      containers:
        - name: {{ $role }}
          image: {{ printf "%s:%s" $root.Values.image.repository ($values.tag | default $root.Values.image.tag | default $root.Chart.AppVersion) | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: ["serve", "--roles", {{ $role | quote }}]
          envFrom:
            - configMapRef:
                name: {{ include "anser.name" $root }}
          env:
            - name: POD_IP
              valueFrom: { fieldRef: { fieldPath: status.podIP } }
            - name: HOST_IP
              valueFrom: { fieldRef: { fieldPath: status.hostIP } }
            - name: ANSER_NODE__NAME
              valueFrom: { fieldRef: { fieldPath: metadata.name } }
            {{- range $variable, $from := dict "ANSER_STORE__URL" $root.Values.store "ANSER_QUEUE__URL" $root.Values.queue "ANSER_PRESENCE__URL" $root.Values.presence }}
            - name: {{ $variable }}
              valueFrom:
                secretKeyRef:
                  name: {{ $from.existingSecret }}
                  key: {{ $from.key }}
            {{- end }}
            {{- if eq $role "connector" }}
            - name: ANSER_LINK__LISTEN
              value: 0.0.0.0:7403
            - name: ANSER_LINK__ADVERTISE
              value: $(POD_IP):7403
            - name: ANSER_CONNECTOR__ADVERTISE
              value: {{ $values.advertise | default (printf "$(HOST_IP):%d" $hostPort) | quote }}
            {{- end }}
          ports:
            {{- if eq $role "connector" }}
            - name: clients
              containerPort: 7400
              {{- if $hostPort }}
              hostPort: {{ $hostPort }}
              {{- end }}
            - { name: link, containerPort: 7403 }
            {{- end }}
            {{- if eq $role "api" }}
            - { name: rest, containerPort: 7401 }
            {{- end }}
            - { name: ops, containerPort: 7402 }
          # A start waits for the store, and for another node's migration.
          startupProbe:
            httpGet: { path: /livez, port: ops }
            periodSeconds: 2
            failureThreshold: 150
          readinessProbe:
            httpGet: { path: /readyz, port: ops }
            periodSeconds: 3
            timeoutSeconds: 3
            failureThreshold: 2
          # Not /readyz: a store that is away is no reason to start anew.
          livenessProbe:
            httpGet: { path: /livez, port: ops }
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          lifecycle:
            preStop:
              # Services stop sending new clients before the listener closes.
              exec: { command: ["sleep", "5"] }
          {{- with $values.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - { name: data, mountPath: /var/lib/anser }
            - { name: keys, mountPath: /var/lib/anser/secrets, readOnly: true }
            - { name: files, mountPath: /var/lib/anser-files }
      volumes:
        # The socket for the administrator, and the commented configuration: nothing to keep.
        - name: data
          emptyDir: { sizeLimit: 64Mi }
        - name: keys
          secret:
            secretName: {{ $root.Values.keys.existingSecret }}
            defaultMode: 0440
        - name: files
          persistentVolumeClaim:
            claimName: {{ $root.Values.files.existingClaim }}
{{- end }}

{{- /* Of a role at most one pod is taken away on purpose at a time. */ -}}
{{- define "anser.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "anser.name" .root }}-{{ .role }}
  labels: {{- include "anser.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "anser.selector" . | nindent 6 }}
{{- end }}
