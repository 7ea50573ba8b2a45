//! Dockerfile to image: parser, plan and execution through the engine's BuildHost
