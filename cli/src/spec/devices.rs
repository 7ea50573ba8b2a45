//! `--device` and `--gpus`: paths of the host, and names that files on it describe.

use mica_engine::container::{ContainerSpec, DeviceRequest, Gpus, is_cdi_name, parse_device};

use super::mount::split;

/// Lays the flags over a request. Names of one container are one request, as Docker has it.
pub(super) fn apply(spec: &mut ContainerSpec, devices: &[String], gpus: &[String]) -> anyhow::Result<()> {
    let (names, paths): (Vec<&String>, Vec<&String>) = devices.iter().partition(|text| is_cdi_name(text));
    spec.devices = paths.into_iter().map(|text| parse_device(text)).collect::<Result<_, _>>()?;
    for text in gpus {
        let gpus =
            parse(text).map_err(|why| anyhow::anyhow!("invalid argument \"{text}\" for \"--gpus\" flag: {why}"))?;
        spec.device_requests.push(DeviceRequest::Gpus(gpus));
    }
    if !names.is_empty() {
        spec.device_requests.push(DeviceRequest::Cdi(names.into_iter().cloned().collect()));
    }
    Ok(())
}

/// `all`, a number, or pairs: `driver=`, `count=`, `device=`, `capabilities=` and `options=`.
fn parse(text: &str) -> Result<Gpus, String> {
    let mut gpus = Gpus::default();
    let mut seen: Vec<String> = Vec::new();
    let list = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<_>>();
    for field in split(text)? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        if seen.iter().any(|known| known == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        match key {
            "driver" => value.clone_into(&mut gpus.driver),
            "count" if value == "all" => gpus.count = -1,
            "count" => gpus.count = value.parse().map_err(|_| "count must be an integer".to_owned())?,
            "device" => gpus.devices = list(value),
            "capabilities" => gpus.capabilities = list(value),
            "options" => {
                for option in split(value)? {
                    let (name, value) = option.split_once('=').unwrap_or((&option, ""));
                    gpus.options.insert(name.to_owned(), value.to_owned());
                }
            }
            key => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if gpus.count != 0 && !gpus.devices.is_empty() {
        return Err("cannot set both Count and DeviceIDs on device request".into());
    }
    if gpus.devices.is_empty() && !seen.iter().any(|key| key == "count") {
        gpus.count = 1;
    }
    if !gpus.capabilities.iter().any(|word| word == "gpu") {
        gpus.capabilities.push("gpu".to_owned());
    }
    Ok(gpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_docker_reads_them() {
        let shown = |text: &str| {
            let gpus = parse(text)?;
            let options: Vec<String> = gpus.options.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            Ok(format!("{} {:?} {:?} {} {options:?}", gpus.count, gpus.devices, gpus.capabilities, gpus.driver))
        };
        for (text, expected) in [
            ("all", Ok(r#"-1 [] ["gpu"]  []"#)),
            ("2", Ok(r#"2 [] ["gpu"]  []"#)),
            ("device=1", Ok(r#"0 ["1"] ["gpu"]  []"#)),
            ("\"device=1,3\"", Ok(r#"0 ["1", "3"] ["gpu"]  []"#)),
            ("\"capabilities=utility,compute\"", Ok(r#"1 [] ["utility", "compute", "gpu"]  []"#)),
            ("driver=nvidia,count=all,options=a=b", Ok(r#"-1 [] ["gpu"] nvidia ["a:b"]"#)),
            ("x", Err("count must be an integer")),
            ("count=1,device=0", Err("cannot set both Count and DeviceIDs on device request")),
            ("count=1,count=2", Err("gpu request key 'count' can be specified only once")),
            ("colour=red", Err("unexpected key 'colour' in 'colour=red'")),
        ] {
            assert_eq!(shown(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn names_and_paths_are_told_apart() {
        let mut spec = ContainerSpec::default();
        let devices = ["v.com/c=a", "/dev/null", "v.com/c=b"].map(str::to_owned);
        apply(&mut spec, &devices, &["1".to_owned()]).expect("valid");
        assert_eq!(spec.devices.len(), 1);
        assert_eq!(spec.device_requests[1], DeviceRequest::Cdi(vec!["v.com/c=a".into(), "v.com/c=b".into()]));
        assert!(matches!(&spec.device_requests[0], DeviceRequest::Gpus(gpus) if gpus.count == 1));
        assert!(apply(&mut spec, &["v.com/c".to_owned()], &[]).is_err());
    }
}
