package qupath.lib.projects

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import qupath.lib.images.ImageData

/** Keeps its entries in one JSON file, as soon as it is told to. */
class Project {
    File file
    List<Entry> imageList = []

    static Project read(File file) {
        def project = new Project(file: file)
        new JsonSlurper().parse(file).each { project.imageList << new Entry(it) }
        project
    }

    Entry addImage(builder) {
        def entry = new Entry(uri: builder.uri.toString())
        imageList << entry
        entry
    }

    Entry getEntry(ImageData data) {
        imageList.find { it.uri == data.server.uri.toString() }
    }

    void syncChanges() {
        def rows = imageList.collect {
            [uri: it.uri, metadata: it.metadata, objects: it.objects, type: it.type,
             pixelSize: it.pixelSize]
        }
        file.text = JsonOutput.toJson(rows)
    }
}
